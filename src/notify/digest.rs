//! Owns the digest: what a head is informed in the morning, and once a week, from what the API says.
//!
//! The figures are those of the windows `24h` and `7d` at that time, as on boards and on the page, and the people are in the
//! order of the page.

use super::channel::{Address, Job};
use super::directory::{self, Company};
use super::text::{Line, Message, choose, russian_count};
use crate::codec::ascii::percent_encoded_segment as encoded;
use crate::config::notify::{Channel, Digest, Notify, Recipient};
use crate::domain::norms::Norms;
use crate::domain::rule::message::{Language, format_duration};
use crate::domain::time::calendar::{Calendar, local};
use crate::domain::time::{Span, Timestamp};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The people that a digest names, and the cases.
const MOST: usize = 5;
/// After this time a digest that could not be sent in the morning is left out.
const LATEST: Span = Span(6 * Span::HOUR.0);

/// What the API says: the JSON at a path below `/api/v1`; `None`: it does not answer.
pub trait Api {
    /// The answer to a request; null if the API says that there is nothing, as for a department without leads.
    fn get(&self, path: &str) -> Option<Value>;
}

/// A digest that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The day, which is part of its key.
    pub day: String,
    /// Whether it sums up the week.
    pub is_weekly: bool,
}

/// The digest that is due at an instant; `None`: there is none.
pub fn due(digest: &Digest, norms: &Norms, now: Timestamp) -> Option<Due> {
    let calendar = norms.base.calendar.as_ref().and_then(|name| norms.calendars.get(name));
    let today = local(calendar.map(Arc::as_ref), now);
    let minute = u32::try_from(today.hour()).ok()? * 60 + u32::try_from(today.minute()).ok()?;
    let is_time = minute >= digest.at && i64::from(minute - digest.at) * Span::MINUTE.0 < LATEST.0;
    let works = |calendar: &Arc<Calendar>| calendar.shifts(today.date()).next().is_some();
    let is_day = !digest.working_days || calendar.is_none_or(works);
    let weekday = u8::try_from(today.weekday().to_monday_zero_offset()).ok()?;
    (is_time && is_day).then(|| Due { day: today.date().to_string(), is_weekly: digest.weekly == Some(weekday) })
}

/// The companies that the API knows. `None`: it does not answer.
pub fn companies(api: &impl Api) -> Option<Vec<String>> {
    Some(names(&api.get("/tenants")?, "tenants", "tenant_id"))
}

/// The messages of a digest of all companies. `None`: the API does not answer, or not to all that is asked.
pub fn messages(notify: &Notify, digest: &Digest, api: &impl Api, due: &Due) -> Option<Vec<Job>> {
    let of_company = |company: String| {
        let (jobs, is_whole) = messages_of(notify, digest, api, due, &company);
        is_whole.then_some(jobs)
    };
    Some(companies(api)?.into_iter().map(of_company).collect::<Option<Vec<_>>>()?.concat())
}

/// The messages of a digest of a company, each with a key that is the same whenever it is made, and whether these are all of
/// them: a message that needs what the API does not answer at the moment is left out.
pub fn messages_of(notify: &Notify, digest: &Digest, api: &impl Api, due: &Due, tenant: &str) -> (Vec<Job>, bool) {
    let Some(people) = api.get(&format!("/tenants/{}/people?window=24h", encoded(tenant))) else {
        return (Vec::new(), false);
    };
    let company: Company = serde_json::from_value(people).unwrap_or_default();
    let (mut jobs, mut is_whole) = (Vec::new(), true);
    for (address, departments) in recipients(notify, digest, tenant, &company) {
        let language = address.language;
        let lines = departments
            .iter()
            .map(|(id, name)| Department { api, tenant, id, name, language, is_weekly: due.is_weekly }.lines(&company));
        let Some(lines) = lines.collect::<Option<Vec<_>>>().map(|lines| lines.concat()) else {
            is_whole = false;
            continue;
        };
        if lines.is_empty() && digest.skip_empty {
            continue;
        }
        let key = format!("digest/{tenant}/{}/{}/{}", due.day, address.channel.name(), address.to);
        let text = Some(Message { title: title(due, language), lines, more: None });
        jobs.push(Job { key, text, ..Job::to(address) });
    }
    (jobs, is_whole)
}

fn title(due: &Due, language: Language) -> String {
    let [english, russian] = match due.is_weekly {
        true => ["Sales: the last seven days", "Продажи: итоги семи дней"],
        false => ["Sales: the last 24 hours", "Продажи: итоги за сутки"],
    };
    choose(language, english, russian).to_owned()
}

/// Each address with the departments that it is informed of: id and name.
fn recipients(
    notify: &Notify,
    digest: &Digest,
    tenant: &str,
    company: &Company,
) -> Vec<(Address, Vec<(String, String)>)> {
    let mut found: BTreeMap<Address, Vec<(String, String)>> = BTreeMap::new();
    let name = |department: &directory::Department| {
        (department.id.clone(), department.name.clone().unwrap_or_else(|| department.id.clone()))
    };
    let all: Vec<(String, String)> = company.departments.iter().map(name).collect();
    let mut add = |id: &str, departments: Vec<(String, String)>| {
        let Some(person) = directory::person(notify, tenant, id) else { return };
        let language = directory::language(notify, Some(person));
        for channel in &digest.via {
            let to = match channel {
                Channel::Mail => person.mail.clone(),
                Channel::Telegram => person.telegram.map(|id| id.to_string()),
                _ => person.bitrix24.map(|id| id.to_string()),
            };
            let address = to.map(|to| Address { channel: *channel, to, person: Some(id.to_owned()), language });
            address.into_iter().for_each(|address| found.entry(address).or_default().extend(departments.clone()));
        }
    };
    for recipient in &digest.to {
        match recipient {
            Recipient::Head | Recipient::HeadOfHead => {
                for department in &company.departments {
                    department.head.iter().for_each(|head| add(head, vec![name(department)]));
                }
            }
            Recipient::Person(id) => add(id, all.clone()),
            Recipient::Manager | Recipient::User(_) | Recipient::Chat(_) | Recipient::Mail(_) => {}
        }
    }
    for recipient in &digest.to {
        let direct = match recipient {
            Recipient::User(id) => (Channel::Bitrix24, id.to_string()),
            Recipient::Chat(id) => (Channel::Telegram, id.to_string()),
            Recipient::Mail(mail) => (Channel::Mail, mail.clone()),
            _ => continue,
        };
        if digest.via.contains(&direct.0) {
            let (channel, to) = direct;
            let address = Address { channel, to, person: None, language: notify.language };
            found.insert(address, all.clone());
        }
    }
    found.into_iter().collect()
}

/// A department in a digest.
struct Department<'a, A> {
    api: &'a A,
    tenant: &'a str,
    id: &'a str,
    name: &'a str,
    language: Language,
    is_weekly: bool,
}

impl<A: Api> Department<'_, A> {
    /// What is said of it; nothing if nothing happened and nothing is open. `None`: the API does not answer.
    fn lines(&self, company: &Company) -> Option<Vec<Line>> {
        let figures = self.figures()?;
        let plan = self.plan()?;
        let people = self.people()?;
        if figures.is_none() && plan.is_empty() && people.is_empty() {
            return Some(Vec::new());
        }
        let quiet = || self.say("no leads", "новых лидов не было").to_owned();
        let mut lines = vec![Line::of_digest(self.name.to_owned(), figures.unwrap_or_else(quiet))];
        lines.extend(plan);
        lines.extend(people);
        lines.extend(self.cases(company)?);
        Some(lines)
    }

    fn say(&self, english: &'static str, russian: &'static str) -> &'static str {
        choose(self.language, english, russian)
    }

    fn path(&self, rest: &str) -> String {
        format!("/tenants/{}/{rest}", encoded(self.tenant))
    }

    /// Leads, how many were answered in time, and the conversion; the inner `None`: there is nothing to say.
    fn figures(&self) -> Option<Option<String>> {
        let window = if self.is_weekly { "7d" } else { "24h" };
        let rows = self.api.get(&self.path(&format!("departments/{}?window={window}", encoded(self.id))))?;
        let Some(row) = rows["rows"].as_array().and_then(|rows| rows.first()) else { return Some(None) };
        let count = |path: &str| row.pointer(path).and_then(Value::as_i64).unwrap_or_default();
        let leads = count("/leads_received");
        let (within, judged) = (count("/first_response/within_norm/k"), count("/first_response/within_norm/n"));
        if leads == 0 && judged == 0 {
            return Some(None);
        }
        let mut parts = vec![match self.language {
            Language::En => format!("{leads} lead{}", if leads == 1 { "" } else { "s" }),
            Language::Ru => {
                format!("{leads} {}", russian_count(leads.unsigned_abs() as usize, ["лид", "лида", "лидов"]))
            }
        }];
        if judged > 0 {
            let share = percent(within as f64 / judged as f64);
            parts.push(choose(
                self.language,
                format!("{within} of {judged} answered in time ({share})"),
                format!("вовремя ответили {within} из {judged} ({share})"),
            ));
        }
        if let Some(seconds) = row.pointer("/first_response/wall/p90_seconds").and_then(Value::as_f64) {
            let lag = format_duration(seconds, self.language);
            parts.push(choose(
                self.language,
                format!("nine of ten within {lag}"),
                format!("девять из десяти — за {lag}"),
            ));
        }
        let (converted, closed) = (count("/lead_conversion/closed/k"), count("/lead_conversion/closed/n"));
        if closed > 0 {
            let share = percent(converted as f64 / closed as f64);
            parts.push(choose(
                self.language,
                format!("conversion {share} ({converted} of {closed} closed)"),
                format!("конверсия {share} ({converted} из {closed} закрытых)"),
            ));
        }
        let won = count("/deals_won");
        if won > 0 {
            parts.push(choose(self.language, format!("deals won: {won}"), format!("выиграно сделок: {won}")));
        }
        Some(Some(parts.join("; ")))
    }

    fn plan(&self) -> Option<Vec<Line>> {
        let targets = self.api.get(&self.path(&format!("targets?department={}", encoded(self.id))))?;
        let own = format!("department:{}", self.id);
        let line = |target: &Value| {
            let number = |key: &str| target[key].as_f64().map(|number| (number * 10.0).round() / 10.0);
            let (fact, plan) = (number("fact")?, number("at_least")?);
            let share = percent(target["share"].as_f64()?);
            let name = target["target"].as_str()?;
            let mut sentence = choose(
                self.language,
                format!("{name}: {fact} of {plan} ({share})"),
                format!("{name}: {fact} из {plan} ({share})"),
            );
            if let Some(forecast) = number("forecast") {
                sentence += &choose(self.language, format!("; forecast {forecast}"), format!("; прогноз {forecast}"));
            }
            Some(Line::of_digest(self.say("Plan", "План").to_owned(), sentence))
        };
        let all = targets["targets"].as_array().into_iter().flatten();
        Some(all.filter(|target| target["subject"] == own.as_str()).filter_map(line).collect())
    }

    /// Who to talk to, and about what.
    fn people(&self) -> Option<Vec<Line>> {
        let path = format!("people?window=24h&department={}&language={}", encoded(self.id), self.language.name());
        let people = self.api.get(&self.path(&path))?;
        let line = |manager: &Value| {
            let open = manager["open_alerts"].as_u64().filter(|open| *open > 0)?;
            let name = manager["name"].as_str().or_else(|| manager["id"].as_str())?;
            let mut sentence = manager["about"]["message"].as_str()?.to_owned();
            if open > 1 {
                sentence +=
                    &choose(self.language, format!(" (and {} more)", open - 1), format!(" (и ещё {})", open - 1));
            }
            Some(Line::of_digest(name.to_owned(), sentence))
        };
        Some(people["managers"].as_array().into_iter().flatten().filter_map(line).take(MOST).collect())
    }

    /// What to praise.
    fn cases(&self, company: &Company) -> Option<Vec<Line>> {
        let path = format!("cases?verdict=SUCCESS&limit={MOST}&department={}", encoded(self.id));
        let cases = self.api.get(&self.path(&path))?;
        let line = |case: &Value| {
            let id = case["manager_id"].as_str()?;
            let known = company.managers.iter().find(|manager| manager.id == id);
            let name = known.and_then(|manager| manager.name.as_deref()).unwrap_or(id);
            let score = case["score"].as_f64()?.round();
            let sentence = choose(self.language, format!("{name}, score {score}"), format!("{name}, оценка {score}"));
            Some(Line::of_digest(self.say("A good example", "Хороший пример").to_owned(), sentence))
        };
        Some(cases["cases"].as_array().into_iter().flatten().filter_map(line).take(2).collect())
    }
}

fn names(answer: &Value, list: &str, key: &str) -> Vec<String> {
    let items = answer[list].as_array().into_iter().flatten();
    items.filter_map(|item| item[key].as_str()).map(str::to_owned).collect()
}

fn percent(share: f64) -> String {
    format!("{} %", (share * 100.0).round())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use serde_json::json;

    /// Answers by the longest path that fits.
    struct Said(BTreeMap<&'static str, Value>);

    impl Api for Said {
        fn get(&self, path: &str) -> Option<Value> {
            let known =
                self.0.iter().filter(|(start, _)| path.starts_with(**start)).max_by_key(|(start, _)| start.len());
            Some(known.map_or(json!({}), |(_, answer)| answer.clone()))
        }
    }

    fn config() -> Config {
        let text = "calendars: {moscow: {timezone: Europe/Moscow, week: {mon: ['09:00-18:00'], fri: ['09:00-18:00']}}}
calendar: moscow
notify:
  language: ru
  api: {url: 'http://localhost:1'}
  digest: {via: [mail], weekly: monday}
  targets: {mail: {host: localhost, from: fw@example.com, tls: none}}
  people: {boss: {mail: boss@example.com}, vera: {mail: vera@example.com, language: en}}
";
        Config::parse("test", text).unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[test]
    fn it_is_due_in_the_morning_of_working_days() {
        let config = config();
        let digest = config.notify.as_ref().and_then(|notify| notify.digest.clone()).expect("a digest");
        let due = |at: &str| due(&digest, &config.norms, Timestamp::parse(at).expect("a time"));
        let day = |day: &str, is_weekly| Some(Due { day: day.into(), is_weekly });
        // 2026-03-02 is a Monday.
        assert_eq!(due("2026-03-02T06:04:59Z"), None);
        assert_eq!(due("2026-03-02T06:05:00Z"), day("2026-03-02", true));
        assert_eq!(due("2026-03-06T09:00:00Z"), day("2026-03-06", false));
        assert_eq!(due("2026-03-06T13:00:00Z"), None, "too late");
        assert_eq!(due("2026-03-03T06:05:00Z"), None, "no working day");
    }

    #[test]
    fn heads_are_told_of_their_departments() {
        let config = config();
        let notify = config.notify.as_ref().expect("the section");
        let digest = notify.digest.as_ref().expect("a digest");
        let said = Said(BTreeMap::from([
            ("/tenants/acme/cases", json!({"cases": [{"manager_id": "vera", "score": 95.2}]})),
            (
                "/tenants/acme/departments/north",
                json!({"rows": [{"leads_received": 21, "first_response": {"within_norm": {"n": 20, "k": 15},
                    "wall": {"p90_seconds": 900.0}}, "lead_conversion": {"closed": {"n": 4, "k": 1}}}]}),
            ),
            (
                "/tenants/acme/people?window=24h&department=north",
                json!({"managers": [{"id": "vera", "name": "Вера", "open_alerts": 3, "about": {"message": "лид 7: нет ответа"}},
                    {"id": "oleg", "open_alerts": 0}]}),
            ),
            (
                "/tenants/acme/people?window=24h",
                json!({"managers": [{"id": "vera", "name": "Вера"}],
                    "departments": [{"id": "north", "name": "Север", "head": "boss"}, {"id": "empty", "head": "vera"}]}),
            ),
            (
                "/tenants/acme/targets",
                json!({"targets": [{"subject": "department:north", "target": "won", "at_least": 30, "fact": 12, "share": 0.4,
                    "forecast": 27.04}, {"subject": "tenant", "target": "won", "at_least": 1, "fact": 1, "share": 1}]}),
            ),
            ("/tenants", json!({"tenants": [{"tenant_id": "acme"}]})),
        ]));
        let due = Due { day: "2026-03-02".into(), is_weekly: false };
        let jobs = messages(notify, digest, &said, &due).expect("the API answers");
        let lines: Vec<String> = jobs
            .iter()
            .flat_map(|job| &job.text)
            .flat_map(|text| {
                std::iter::once(text.title.clone())
                    .chain(text.lines.iter().map(|line| format!("{}: {}", line.label, line.sentence)))
            })
            .collect();
        assert_eq!(
            lines,
            [
                "Продажи: итоги за сутки",
                "Север: 21 лид; вовремя ответили 15 из 20 (75 %); девять из десяти — за 15 мин; конверсия 25 % (1 из 4 закрытых)",
                "План: won: 12 из 30 (40 %); прогноз 27",
                "Вера: лид 7: нет ответа (и ещё 2)",
                "Хороший пример: Вера, оценка 95",
            ]
        );
        assert_eq!((jobs.len(), jobs[0].address.to.as_str()), (1, "boss@example.com"), "an empty one is not sent");
        assert_eq!(jobs[0].key, "digest/acme/2026-03-02/mail/boss@example.com");
    }
}
