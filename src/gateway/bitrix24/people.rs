//! Owns users and departments: reported when they change.

use super::answer::Failure;
use super::events::digest;
use super::pages::PAGE;
use super::portal::{Outcome, Portal};
use super::query::Command;
use super::value::{Row, elements, text, whole};
use crate::domain::time::Timestamp;
use crate::gateway::source::ReadError;
use serde_json::{Value, json};

/// The most pages of a list of people.
const MOST_PAGES: usize = 2_000;

impl Portal {
    /// Asks again whether the portal has leads: an administrator may switch that.
    pub(super) fn read_mode(&mut self) -> Result<(), ReadError> {
        let command = Command { method: "crm.settings.mode.get", params: json!({}) };
        let Some(Ok(mode)) = self.client.batch(&[command], 1)?.pop() else { return Ok(()) };
        let Some(mode) = whole(&mode.result) else { return Ok(()) };
        let without_leads = mode == 2;
        if self.memory.known.get().without_leads != without_leads {
            tracing::info!(source = self.settings.source(), without_leads, "the portal was switched");
            self.memory.known.change().without_leads = without_leads;
        }
        Ok(())
    }

    /// Reads all users.
    pub(super) fn read_users(&mut self, at: Timestamp) -> Outcome<()> {
        let rows = match self.every("user.get", &json!({"sort": "ID", "order": "ASC"}))? {
            Ok(rows) => rows,
            Err(failure) => return Ok(Err(failure)),
        };
        for row in &rows {
            let row = Row(row);
            let Some(id) = row.number("ID") else { continue };
            let names = [row.text("NAME"), row.text("LAST_NAME")];
            let name = names.into_iter().flatten().collect::<Vec<_>>().join(" ");
            let departments = row.get("UF_DEPARTMENT");
            let first = departments.map(|value| elements(value).into_iter().next().unwrap_or(value)).and_then(text);
            let mut payload = json!({
                "manager_id": id.to_string(),
                "name": (!name.is_empty()).then_some(name),
                "department_id": first.filter(|id| id != "0").unwrap_or_default(),
                "active": row.get("ACTIVE").is_none_or(super::value::is_yes),
            });
            if let Some(field) = &self.settings.grade {
                let grade = self.own_field(row.0, field);
                let grade = grade.map(|value| elements(value).into_iter().next().unwrap_or(value)).and_then(text);
                payload["grade"] = grade.unwrap_or_default().into();
            }
            let digest = digest(&payload);
            if self.memory.users.insert(id, digest.clone()) {
                self.events.crm(format!("b24:user:{id}:{digest}"), at, "manager_upserted", payload);
            }
        }
        Ok(Ok(()))
    }

    /// Reads all departments.
    pub(super) fn read_departments(&mut self, at: Timestamp) -> Outcome<()> {
        let rows = match self.every("department.get", &json!({"sort": "ID", "order": "ASC"}))? {
            Ok(rows) => rows,
            Err(failure) => return Ok(Err(failure)),
        };
        for row in &rows {
            let row = Row(row);
            let Some(id) = row.number("ID") else { continue };
            let payload = json!({
                "department_id": id.to_string(),
                "name": row.text("NAME"),
                "parent_id": row.id("PARENT").unwrap_or_default(),
                "head_manager_id": row.id("UF_HEAD").unwrap_or_default(),
            });
            let digest = digest(&payload);
            if self.memory.departments.insert(id, digest.clone()) {
                self.events.crm(format!("b24:dep:{id}:{digest}"), at, "department_upserted", payload);
            }
        }
        Ok(Ok(()))
    }

    /// Reads all rows of a list that has no filter by id.
    pub(super) fn every(&mut self, method: &'static str, params: &Value) -> Outcome<Vec<Value>> {
        let mut rows: Vec<Value> = Vec::new();
        for _ in 0..MOST_PAGES {
            let mut params = params.clone();
            params["start"] = rows.len().into();
            let answer = self.client.batch(&[Command { method, params }], 1)?.pop();
            let reply = match answer.unwrap_or(Err(Failure::NotFound)) {
                Ok(reply) => reply,
                Err(failure) => return Ok(Err(failure)),
            };
            let page: Vec<Value> = elements(&reply.result).into_iter().cloned().collect();
            let last = page.len() < PAGE
                || reply.next.is_none() && reply.total.is_some_and(|total| total <= (rows.len() + page.len()) as u64);
            rows.extend(page);
            if last {
                break;
            }
        }
        Ok(Ok(rows))
    }
}
