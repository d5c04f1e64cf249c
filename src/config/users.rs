//! Owns `api.users`: who may ask, about what, and what each of them may do.

use super::schema::key::ValueKind::{List, Secret, Text};
use super::schema::key::{ANY, Form, KeySpec, ValueKind};
use super::schema::reader::Reader;
use super::schema::typed::{named, one_of};
use super::schema::value::{Table, Value};
use crate::domain::id::{DepartmentId, TenantId};
use crate::domain::named::named_enum;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

named_enum! {
    /// What a user may do. Every user may read.
    pub enum Role, named "in the configuration" {
        /// Reads.
        Viewer = "viewer",
        /// Also scores calls and messages, and takes alerts.
        Reviewer = "reviewer",
        /// Also sees the numbers and addresses of customers.
        Contacts = "contacts",
        /// Also does what reviewers do.
        Admin = "admin",
    }
}
named! { Role }

/// Somebody who may ask.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiUser {
    /// The name, which is written as the author of what the user does.
    pub name: String,
    /// What the user shows. Secret.
    pub token: String,
    /// The tenants that the user sees; `None`: all.
    pub tenants: Option<BTreeSet<TenantId>>,
    /// The departments that the user sees; `None`: all.
    pub departments: Option<BTreeSet<DepartmentId>>,
    /// What the user may do.
    pub roles: BTreeSet<Role>,
}

/// Hides the token.
impl fmt::Debug for ApiUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, token: _, tenants, departments, roles } = self;
        let mut shown = f.debug_struct("ApiUser");
        shown.field("name", name).field("token", &"(secret)").field("tenants", tenants);
        shown.field("departments", departments).field("roles", roles).finish()
    }
}

/// The minimum length of a token; a shorter one could be guessed.
pub(super) const MIN_TOKEN_LENGTH: usize = 16;
/// The most users: each request without a session compares its token with all of theirs.
const MOST: usize = 1000;

const NAME: Form = Form {
    expected: "a name of up to 64 characters",
    fits: |text| (1..=64).contains(&text.chars().count()) && !text.chars().any(char::is_control),
    pattern: "^.{1,64}$",
    ..ANY
};

pub(super) const USER: &[KeySpec] = &[
    KeySpec::new("name", ValueKind::Form(NAME), "the name, written as the author of reviews and taken alerts").required(),
    KeySpec::new("token", Secret, "what the user shows, as `api.token`; at least 16 characters and of nobody else"),
    KeySpec::new("token_file", Text, "the file with the token: the same as `token: {file: PATH}`"),
    KeySpec::new("tenants", List(&Text, 1), "the companies that the user sees").described("all"),
    KeySpec::new("departments", List(&Text, 1), "the ids of the departments that the user sees; `unknown` is what has none")
        .described("all"),
    KeySpec::new(
        "roles",
        List(&one_of::<Role>(), 1),
        "`viewer` reads; `reviewer` and `admin` also score and take alerts; `contacts` also sees numbers and addresses of \
         customers",
    )
    .default("[viewer]"),
];

/// Reads the users. Problems: short or repeated tokens, repeated names, `token`: another user's or `api.token`.
pub(super) fn users(reader: &mut Reader<'_>, items: &[Value], token: Option<&str>) -> Vec<ApiUser> {
    let (mut names, mut tokens) = (BTreeMap::new(), BTreeSet::new());
    tokens.extend(token.map(str::to_owned));
    let mut users = Vec::new();
    for table in items.iter().filter_map(Value::table) {
        if users.len() == MOST {
            reader.problem(table.line, &table.path, format!("expected at most {MOST} users"));
            break;
        }
        users.extend(user(reader, table, &mut names, &mut tokens));
    }
    users
}

fn user(
    reader: &mut Reader<'_>,
    table: &Table,
    names: &mut BTreeMap<String, usize>,
    tokens: &mut BTreeSet<String>,
) -> Option<ApiUser> {
    let name = table.text("name")?.to_owned();
    if let Some(line) = names.insert(name.clone(), table.line_of("name")) {
        reader.problem_of(table, "name", format!("this name is already used on line {line}"));
    }
    let (key, given) = match (table.is_set("token"), table.text("token_file")) {
        (true, Some(_)) => {
            reader.problem_of(table, "token_file", "`token` is set, too: a user has one token");
            return None;
        }
        (true, None) => ("token", table.text("token")?.to_owned()),
        (false, Some(file)) => ("token_file", reader.secret_in(table, "token_file", file)?),
        (false, None) => {
            reader.problem(table.line, &table.path, "expected token or token_file");
            return None;
        }
    };
    let token = given.trim_end().to_owned();
    if token.len() < MIN_TOKEN_LENGTH {
        let text = format!("expected at least {MIN_TOKEN_LENGTH} characters: a shorter token could be guessed");
        reader.problem_of(table, key, text);
    } else if !tokens.insert(token.clone()) {
        reader.problem_of(table, key, "this token is already used: it would not say who asks");
    }
    let ids = |key| table.get::<Vec<String>>(key);
    Some(ApiUser {
        name,
        token,
        tenants: ids("tenants").map(|ids| ids.into_iter().map(TenantId::from).collect()),
        departments: ids("departments").map(|ids| ids.into_iter().map(DepartmentId::from).collect()),
        roles: table.get::<Vec<Role>>("roles")?.into_iter().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn users_are_read_with_what_they_may_see() {
        let text = "
api:
  token: 0123456789abcdef
  users:
    - {name: Vera, token: vera-vera-vera-vera, tenants: [acme], departments: [north, 7], roles: [reviewer, contacts]}
    - {name: Anna, token: anna-anna-anna-anna}
";
        let users = Config::parse("c.yaml", text).unwrap_or_else(|problems| panic!("{problems}")).api.users;
        assert_eq!(users[0].departments, Some(["7".into(), "north".into()].into()));
        assert_eq!(users[0].roles, [Role::Reviewer, Role::Contacts].into());
        assert_eq!((&users[1].tenants, &users[1].departments), (&None, &None));
        assert_eq!(users[1].roles, [Role::Viewer].into());
        assert!(!format!("{users:?}").contains("vera-vera"));
    }

    #[test]
    fn short_and_repeated_tokens_and_names_are_problems() {
        let problems = |users: &str| {
            let text = format!("api: {{token: 0123456789abcdef, users: [{users}]}}");
            Config::parse("c.yaml", &text).map(|_| ()).map_err(|problems| problems.to_string())
        };
        for (users, part) in [
            ("{name: a, token: short}", "at least 16"),
            ("{name: a, token: 0123456789abcdef}", "already used"),
            ("{name: a, token: aaaaaaaaaaaaaaaa}, {name: b, token: aaaaaaaaaaaaaaaa}", "already used"),
            ("{name: a, token: aaaaaaaaaaaaaaaa}, {name: a, token: bbbbbbbbbbbbbbbb}", "this name is already used"),
            ("{name: a}", "expected token or token_file"),
            ("{name: a, token: aaaaaaaaaaaaaaaa, token_file: x}", "a user has one token"),
            ("{name: a, token_file: /no/such/file}", "cannot read"),
            ("{name: a, token: aaaaaaaaaaaaaaaa, roles: [owner]}", "viewer"),
            ("{name: a, token: aaaaaaaaaaaaaaaa, roles: []}", "non-empty"),
        ] {
            let found = problems(users).expect_err(users);
            assert!(found.contains(part), "{users}: {found}");
            assert!(!found.contains("aaaaaaaa"), "{found}");
        }
    }
}
