//! What `demo --notify` adds: the messages that people would be sent, printed, shown on the page, and sent to nobody.

use super::names;
use crate::app::notify::{self, Told};
use crate::config::Config;
use crate::edge::kafka::Stop;
use std::net::SocketAddr;
use std::thread::JoinHandle;

/// The routes of the demo. A simulated hour takes half a minute, so nothing is held for long.
const SECTION: &str = "
  listen: 127.0.0.1:0
  hold: 1s
  routes:
    - {when: {status: [DUE_SOON], rule: [first_response_late, missed_call_not_returned]}, to: [manager], via: [bitrix24]}
    - {when: {severity: [critical]}, to: [head], via: [telegram], group: {by: [department], wait: 3s, most: 5}, continue: true}
    - {when: {rule: [first_response_late, missed_call_not_returned, message_unanswered]}, to: [manager], via: [bitrix24]}
  targets:
    telegram: {token: '1:0123456789abcdef'}
    bitrix24: {url: 'http://localhost/rest/1/demo/'}
";

/// Starts to print messages.
pub(super) fn start(bootstrap: &str, api: SocketAddr, stop: &Stop) -> anyhow::Result<JoinHandle<anyhow::Result<()>>> {
    let people: String = names::ids()
        .zip(1..)
        .map(|(id, number)| format!("    {id}: {{telegram: {number}, bitrix24: {number}}}\n"))
        .collect();
    let text = format!("notify:{SECTION}  api: {{url: 'http://{api}'}}\n  people:\n{people}");
    let mut config = Config::parse("the demo's notify", &text)?;
    config.kafka.bootstrap = bootstrap.to_owned();
    let Some(section) = config.notify.clone() else { anyhow::bail!("the demo has no section notify") };
    let stop = stop.clone();
    Ok(std::thread::spawn(move || notify::run(config, section, Told::PrintedAndRecorded, &stop)))
}
