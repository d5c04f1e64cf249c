//! Owns the form of a message: a title, and a line for each alert.

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// One line.
    pub title: String,
    /// The alerts.
    pub lines: Vec<Line>,
    /// How many more there are.
    pub more: Option<String>,
}

/// What a message says of an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What the status means.
    pub label: String,
    /// The rule.
    pub rule: &'static str,
    /// What happened, in one sentence.
    pub sentence: String,
    /// The manager.
    pub manager: Option<String>,
    /// Who takes care of it.
    pub taken_by: Option<String>,
    /// Whether it is over.
    pub is_over: bool,
    /// The card in the CRM.
    pub card: Option<String>,
    /// What the recipient can answer: a label and an address.
    pub answers: Vec<(&'static str, String)>,
}
