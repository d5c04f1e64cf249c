//! Owns what can be asked of a portal without reading it: what a webhook may see (`gateway check`), and the pipelines of the
//! portal as norms (`gateway norms`).

use super::activities::session_of;
use super::answer::{Failure, NO_SCOPE};
use super::client::Client;
use super::objects::{Semantic, semantic};
use super::pages::List;
use super::portal::Outcome;
use super::query::Command;
use super::settings::Settings;
use super::transport::Transport;
use super::value::{Row, elements, plain_name, whole};
use crate::gateway::source::{Clock, ReadError};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

/// What a check has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// What is as it should be: a word and a sentence each.
    pub facts: Vec<(String, String)>,
    /// What will be missing, and why.
    pub missing: Vec<String>,
}

impl Findings {
    fn fact(&mut self, word: &str, sentence: String) {
        self.facts.push((word.to_owned(), sentence));
    }
}

/// Asks a portal.
pub struct Inspector {
    client: Client,
    settings: Settings,
}

/// A row that no portal has: lists are asked for what follows it.
const BEYOND: u64 = 9_000_000_000;

impl Inspector {
    /// An inspector of the portal of a source.
    pub fn new(settings: Settings, transport: Box<dyn Transport>, clock: Arc<dyn Clock>) -> Self {
        let client = Client::new(&settings, transport, clock, Arc::new(()));
        Self { client, settings }
    }

    /// What the webhook may see, and what will be missing.
    pub fn check(&mut self) -> Result<Findings, ReadError> {
        let mut found = Findings::default();
        let profile = self.client.call("profile", &json!({}))?;
        found.fact("portal", format!("{}, clock {}", self.settings.webhook.host(), self.client.began()));
        if let Ok(profile) = profile {
            let row = Row(&profile.result);
            let is_admin = row.flag("ADMIN");
            let kind = if is_admin { "an administrator" } else { "no administrator" };
            found.fact("webhook", format!("of user {}, {kind}", row.text("ID").unwrap_or_default()));
            if !is_admin {
                let text = "leads and deals that the owner of the webhook may not see are left out in silence: \
                    create it as an administrator";
                found.missing.push(text.to_owned());
            }
        }
        self.check_scopes(&mut found)?;
        let mode = self.client.call("crm.settings.mode.get", &json!({}))?;
        if let Err(failure @ Failure::NoRight(_)) = &mode {
            found.missing.push(format!("mode: {}; the portal is read as one with leads", CRM.why(failure)));
        }
        let without_leads = mode.is_ok_and(|mode| whole(&mode.result) == Some(2));
        found.fact("mode", if without_leads { "without leads: deals are the demand" } else { "with leads" }.to_owned());
        let funnels = self.funnels()?;
        match &funnels {
            Ok(funnels) if funnels.is_empty() => {
                found.missing.push("funnels: none is visible; the owner of the webhook may lack the right".to_owned());
            }
            Err(failure) => found.missing.push(format!("funnels: {}", CRM.why(failure))),
            Ok(_) => {}
        }
        for (id, name) in funnels.unwrap_or_default() {
            found.fact("funnel", format!("{id} {name} → pipeline {}", self.settings.deal_pipeline(id)));
        }
        self.check_lists(&mut found, without_leads)?;
        self.check_others(&mut found)?;
        self.check_calls(&mut found)?;
        self.check_chats(&mut found)?;
        self.check_people(&mut found)?;
        self.check_fields(&mut found, without_leads)?;
        Ok(found)
    }

    fn check_scopes(&mut self, found: &mut Findings) -> Result<(), ReadError> {
        let Ok(scopes) = self.client.call("scope", &json!({}))? else { return Ok(()) };
        let scopes: BTreeSet<String> = elements(&scopes.result).into_iter().filter_map(super::value::text).collect();
        found.fact("scopes", scopes.iter().cloned().collect::<Vec<_>>().join(", "));
        let needed = [
            ("crm", "nothing can be read"),
            ("telephony", "no calls"),
            ("user", "no names, departments and grades of managers"),
            ("department", "no names and heads of departments"),
            ("imopenlines", "no chats of open lines"),
        ];
        for (scope, loss) in needed {
            let similar = scope == "user" && scopes.iter().any(|scope| scope.starts_with("user"));
            if !scopes.contains(scope) && !similar {
                found.missing.push(format!("{loss}: the webhook lacks the scope `{scope}`"));
            }
        }
        Ok(())
    }

    /// Whether lists can be read; a filter beyond all ids must find nothing.
    fn check_lists(&mut self, found: &mut Findings, without_leads: bool) -> Result<(), ReadError> {
        let lists = [
            ("leads", List::items(1)),
            ("deals", List::items(2)),
            ("contacts", List::items(3)),
            ("companies", List::items(4)),
            ("stage history of leads", List::history(1)),
            ("stage history of deals", List::history(2)),
            ("activities", List::ACTIVITIES),
        ];
        let lists: Vec<_> = lists.into_iter().filter(|(name, _)| !(without_leads && name.contains("leads"))).collect();
        let command = |(_, list): &(&str, List)| {
            let filter = Map::from_iter([(format!(">{}", list.id), Value::from(BEYOND))]);
            list.command(filter, &[(list.id, "ASC")], -1)
        };
        let mut commands: Vec<Command> = lists.iter().map(command).collect();
        let params = json!({"filter": {"=ownerType": "D", "=ownerId": BEYOND}});
        commands.push(Command { method: "crm.item.productrow.list", params });
        let answers = self.client.batch(&commands, commands.len())?;
        let names = lists.iter().map(|(name, list)| (*name, Some(list))).chain([("product rows", None)]);
        let mut readable = Vec::new();
        for ((name, list), answer) in names.zip(answers) {
            match answer {
                Ok(reply) => match list {
                    Some(list) if !list.rows(reply.result).is_empty() => {
                        found.missing.push(format!("{name}: the portal ignores filters by id"));
                    }
                    _ => readable.push(name),
                },
                Err(failure) => found.missing.push(format!("{name}: {}", CRM.why(&failure))),
            }
        }
        found.fact("readable", readable.join(", "));
        Ok(())
    }

    /// Whether the methods that ask for one thing can be called. They are asked for something that no portal has.
    fn check_others(&mut self, found: &mut Findings) -> Result<(), ReadError> {
        let others = [
            ("deletions of leads and deals", "crm.item.get", json!({"entityTypeId": 2, "id": BEYOND})),
            ("deletions of planned activities", "crm.activity.get", json!({"id": BEYOND})),
            ("the deals of calls and mails of contacts", "crm.activity.binding.list", json!({"activityId": BEYOND})),
            ("stages, for `gateway norms`", "crm.status.list", json!({"filter": {"ENTITY_ID": "STATUS"}})),
        ];
        let commands: Vec<_> =
            others.iter().map(|(_, method, params)| Command { method, params: params.clone() }).collect();
        let answers = self.client.batch(&commands, commands.len())?;
        for ((name, method, _), answer) in others.iter().zip(answers) {
            // That it is not found is the right answer.
            if let Err(failure @ (Failure::NoRight(_) | Failure::NoMethod | Failure::OverTime | Failure::Busy(..))) =
                answer
            {
                found.missing.push(format!("{name} (`{method}`): {}", CRM.why(&failure)));
            }
        }
        Ok(())
    }

    /// Whether chats of open lines can be read: some of the newest, or without any whether the method can be called.
    fn check_chats(&mut self, found: &mut Findings) -> Result<(), ReadError> {
        const NEWEST: usize = 10;
        let filter = Map::from_iter([("PROVIDER_ID".to_owned(), Value::from("IMOPENLINES_SESSION"))]);
        let command = List::ACTIVITIES.command(filter, &[("ID", "DESC")], -1);
        let rows = match self.client.batch(&[command], 1)?.pop() {
            Some(Ok(reply)) => List::ACTIVITIES.rows(reply.result),
            // It is reported as such.
            _ => Vec::new(),
        };
        let mut sessions: Vec<u64> = rows.iter().filter_map(|row| session_of(Row(row))).take(NEWEST).collect();
        let has_chats = !sessions.is_empty();
        if !has_chats {
            sessions.push(BEYOND);
        }
        let command =
            |id: &u64| Command { method: "imopenlines.session.history.get", params: json!({"SESSION_ID": id}) };
        let mut commands: Vec<Command> = sessions.iter().map(command).collect();
        commands.push(Command { method: "imopenlines.dialog.get", params: json!({"SESSION_ID": sessions[0]}) });
        let mut answers = self.client.batch(&commands, commands.len())?;
        let dialog = answers.pop().unwrap_or(Err(Failure::NotFound));
        let readable = answers.iter().filter(|answer| answer.is_ok()).count();
        let refusal = answers.into_iter().find_map(|answer| match answer {
            Err(failure @ (Failure::NoMethod | Failure::OverTime | Failure::Busy(..))) => Some(failure),
            // One that does not exist may be refused as well.
            Err(failure @ Failure::NoRight(why)) if has_chats || why == NO_SCOPE => Some(failure),
            _ => None,
        });
        match (refusal, dialog) {
            (Some(failure), _) if readable == 0 => {
                found.missing.push(format!("chats of open lines: {}", LINES.why(&failure)));
            }
            (_, Err(failure @ Failure::NoMethod)) => {
                let what = "the customers of chats (`imopenlines.dialog.get`)";
                found.missing.push(format!("{what}: {}", LINES.why(&failure)));
            }
            _ if has_chats => {
                let count = sessions.len();
                found.fact("chats", format!("{readable} of the newest {count} of open lines can be read"));
            }
            _ => found.fact("chats", "there are none of open lines yet".to_owned()),
        }
        Ok(())
    }

    fn check_calls(&mut self, found: &mut Findings) -> Result<(), ReadError> {
        let command = List::CALLS.command(Map::new(), &[("ID", "DESC")], 0);
        match self.client.batch(&[command], 1)?.pop() {
            Some(Ok(reply)) => {
                let rows = List::CALLS.rows(reply.result);
                let people: BTreeSet<_> = rows.iter().filter_map(|row| Row(row).id("PORTAL_USER_ID")).collect();
                found.fact("calls", format!("the newest {} are of {} managers", rows.len(), people.len()));
                if rows.len() >= 10 && people.len() == 1 {
                    let text = "calls of others: all of the newest calls are of one manager; the right \
                        \"call statistics – view\" may be limited to own calls";
                    found.missing.push(text.to_owned());
                }
            }
            Some(Err(failure)) => found.missing.push(format!("calls: {}", TELEPHONY.why(&failure))),
            None => {}
        }
        Ok(())
    }

    fn check_people(&mut self, found: &mut Findings) -> Result<(), ReadError> {
        let commands = ["user.get", "department.get"].map(|method| Command { method, params: json!({"start": 0}) });
        let parts = [("users", USERS), ("departments", DEPARTMENTS)];
        for ((name, need), answer) in parts.into_iter().zip(self.client.batch(&commands, 2)?) {
            match answer {
                Ok(reply) => {
                    let rows = elements(&reply.result);
                    found.fact(name, reply.total.unwrap_or(rows.len() as u64).to_string());
                    if name == "users" {
                        self.check_grade(found, &rows);
                    }
                }
                Err(failure) => found.missing.push(format!("{name}: {}", need.why(&failure))),
            }
        }
        Ok(())
    }

    /// Whether a user has the field with the grade; empty fields are left out.
    fn check_grade(&self, found: &mut Findings, users: &[&Value]) {
        let Some(field) = &self.settings.grade else { return };
        let plain = plain_name(field);
        let names = users.iter().filter_map(|user| user.as_object()).flat_map(Map::keys);
        if !users.is_empty() && !names.into_iter().any(|name| plain_name(name) == plain) {
            let text = format!("grade: none of the first {} users has a value in the field {field}", users.len());
            found.missing.push(text);
        }
    }

    /// Whether the configured fields exist.
    fn check_fields(&mut self, found: &mut Findings, without_leads: bool) -> Result<(), ReadError> {
        let fields = &self.settings.fields;
        let single = [&fields.installment_months, &fields.prepayment_percent, &fields.approved_by];
        let wanted = fields.reject_reason.iter().chain(single.into_iter().flatten()).chain(fields.filled.keys());
        let wanted: BTreeSet<String> = wanted.map(ToString::to_string).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let mut known = BTreeSet::new();
        let mut was_read = false;
        for type_id in if without_leads { &[2][..] } else { &[1, 2][..] } {
            if let Ok(reply) = self.client.call("crm.item.fields", &json!({"entityTypeId": type_id}))? {
                let names = reply.result.get("fields").and_then(Value::as_object);
                known.extend(names.into_iter().flatten().map(|(name, _)| plain_name(name)));
                was_read = true;
            }
        }
        for field in wanted.iter().filter(|field| was_read && !known.contains(&plain_name(field))) {
            found.missing.push(format!("field {field}: neither leads nor deals have it"));
        }
        Ok(())
    }

    fn funnels(&mut self) -> Outcome<Vec<(u64, String)>> {
        let reply = match self.client.call("crm.category.list", &json!({"entityTypeId": 2}))? {
            Ok(reply) => reply,
            Err(failure) => return Ok(Err(failure)),
        };
        let mut rows = Row(&reply.result).list("categories");
        rows.sort_by_key(|row| row.get("sort").and_then(whole));
        let funnel = |row: &Value| Some((row.get("id").and_then(whole)?, Row(row).text("name").unwrap_or_default()));
        Ok(Ok(rows.into_iter().filter_map(funnel).collect()))
    }

    /// A section `pipelines` with the funnels and stages of the portal, and its departments as comments.
    pub fn norms(&mut self) -> Result<String, ReadError> {
        let mut text = String::from("pipelines:\n");
        let mode = self.client.call("crm.settings.mode.get", &json!({}))?;
        let mut parts = Vec::new();
        if mode.is_ok_and(|mode| whole(&mode.result) != Some(2)) {
            parts.push((self.settings.lead_pipeline.to_string(), "lead", "STATUS".to_owned(), "leads".to_owned()));
        }
        let funnels = self.funnels()?;
        if let Err(failure) = &funnels {
            let _ = writeln!(text, "  # funnels of deals are missing: {}", CRM.why(failure));
        }
        for (id, name) in funnels.unwrap_or_default() {
            let of = if id == 0 { "DEAL_STAGE".to_owned() } else { format!("DEAL_STAGE_{id}") };
            parts.push((self.settings.deal_pipeline(id), "deal", of, name));
        }
        for (pipeline, entity, of, name) in parts {
            let params = json!({"filter": {"ENTITY_ID": of}, "order": {"SORT": "ASC"}});
            let stages = self.client.call("crm.status.list", &params)?;
            let stages = stages.map(|reply| reply.result).unwrap_or_default();
            let mut stages: Vec<Row<'_>> = elements(&stages).into_iter().map(Row).collect();
            stages.sort_by_key(|row| row.number("SORT"));
            let _ = writeln!(text, "  {}:  # {}", quoted(&pipeline), comment(&name));
            let _ = writeln!(text, "    entity: {entity}\n    stages:");
            let mut last = Vec::new();
            for stage in stages {
                let (id, name) = (stage.text("STATUS_ID").unwrap_or_default(), stage.text("NAME").unwrap_or_default());
                let extra = stage.row("EXTRA").and_then(|extra| extra.text("SEMANTICS")).unwrap_or_default();
                let is_final = semantic(stage.text("SEMANTICS").as_deref()) != Semantic::Open
                    || ["success", "failure", "apology"].contains(&extra.as_str());
                match is_final {
                    // Final stages are closings, not stages.
                    true => last.push(format!("{id} ({})", comment(&name))),
                    false => _ = writeln!(text, "      - {{id: {}}}  # {}", quoted(&id), comment(&name)),
                }
            }
            if !last.is_empty() {
                let _ = writeln!(text, "    # final: {}", last.join(", "));
            }
        }
        let departments = self.departments()?;
        if !departments.is_empty() {
            text.push_str("# departments, for `when: {department: ID}`:\n");
        }
        for row in departments.iter().map(Row) {
            let (id, name) = (row.text("ID").unwrap_or_default(), row.text("NAME").unwrap_or_default());
            let _ = writeln!(text, "#   {}: {}", comment(&id), comment(&name));
        }
        Ok(text)
    }

    /// All departments that can be read.
    fn departments(&mut self) -> Result<Vec<Value>, ReadError> {
        const MOST_PAGES: usize = 200;
        let mut rows: Vec<Value> = Vec::new();
        for _ in 0..MOST_PAGES {
            let Ok(page) = self.client.call("department.get", &json!({"start": rows.len()}))? else { break };
            let more = page.next.is_some();
            rows.extend(elements(&page.result).into_iter().cloned());
            if !more {
                break;
            }
        }
        Ok(rows)
    }
}

/// What reading a part of a portal needs.
#[derive(Clone, Copy)]
struct Need {
    /// The scope of the webhook.
    scope: &'static str,
    /// The right of its owner.
    right: &'static str,
}

const CRM: Need = Need { scope: "crm", right: "to read all leads, deals, contacts and companies" };
const TELEPHONY: Need = Need { scope: "telephony", right: "\"call statistics – view: any\"" };
const LINES: Need = Need { scope: "imopenlines", right: "to see the conversations of all open lines" };
const USERS: Need = Need { scope: "user", right: "to see all employees" };
const DEPARTMENTS: Need = Need { scope: "department", right: "to see the structure of the company" };

impl Need {
    /// Why something cannot be read, and what to do about it.
    fn why(self, failure: &Failure) -> String {
        match failure {
            Failure::NoRight(NO_SCOPE) => format!("{NO_SCOPE}: add `{}` to it", self.scope),
            Failure::NoRight(why) => format!("{why}: give the owner of the webhook the right {}", self.right),
            Failure::NoMethod => "the portal has no such method".to_owned(),
            Failure::OverTime | Failure::Busy(..) => "the portal is busy: try again later".to_owned(),
            other => format!("not readable ({})", other.name()),
        }
    }
}

/// A text as a value of YAML.
fn quoted(text: &str) -> String {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if plain && !text.as_bytes()[0].is_ascii_digit() { text.to_owned() } else { Value::from(text).to_string() }
}

/// A text in a comment of YAML: one line.
fn comment(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(100).collect()
}
