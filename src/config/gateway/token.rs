//! Owns the reading of a token that others must show.

use crate::config::schema::reader::Reader;
use crate::config::schema::value::Table;
use crate::config::users::MIN_TOKEN_LENGTH;

/// The token of a source; a short one is a problem.
pub(super) fn token(reader: &mut Reader<'_>, table: &Table) -> Option<String> {
    let token = table.text("token")?.trim().to_owned();
    if token.len() < MIN_TOKEN_LENGTH {
        let text = format!("expected at least {MIN_TOKEN_LENGTH} characters: a shorter token could be guessed");
        reader.problem_of(table, "token", text);
    }
    Some(token)
}
