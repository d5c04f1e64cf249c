//! Tests of the section `notify`: what is accepted, and what is said of mistakes.

use super::*;
use crate::config::Config;
use crate::domain::alert::{Alert, Status};
use crate::domain::rule::Rule;
use crate::domain::time::Timestamp;

fn read(section: &str) -> Result<Notify, String> {
    match Config::parse("test", &format!("notify:\n{section}")) {
        Ok(config) => config.notify.ok_or_else(|| "no section".into()),
        Err(problems) => Err(problems.to_string()),
    }
}

const TARGETS: &str = "  targets:
    telegram: {token: '123456:ABC-DEF1234ghIkl-zyx57W2v1u123ew11'}
    mail: {host: mail.example.com, from: fw@example.com}
    webhook: {url: 'https://example.com/hook', secret: 0123456789abcdef}
";

#[test]
fn routes_select_alerts() {
    let routes = "  routes:
    - when: {rule: [neglected], status: [DUE_SOON], level: 0, department: [north]}
      to: [manager, {chat: -100123}, {mail: boss@example.com}]
      via: [telegram, mail]
      group: {by: [manager, rule], wait: 10s}
      continue: true
    - {via: [webhook], when: {severity: [critical]}}
";
    let notify = read(&format!("{TARGETS}{routes}")).expect("a valid section");
    let [first, second] = notify.routes.as_slice() else { panic!("two routes") };
    assert_eq!(first.to, [Recipient::Manager, Recipient::Chat(-100_123), Recipient::Mail("boss@example.com".into())]);
    assert_eq!(first.group.as_ref().map(|group| (group.by.len(), group.wait, group.most)), Some((2, Span(10_000), 10)));
    assert!(first.goes_on && !second.goes_on && second.to.is_empty());
    let alert = |status, department: &str| Alert {
        status,
        department: Some(department.into()),
        ..Alert::sample("acme", Rule::Neglected, "lead:1", Timestamp(0))
    };
    assert!(first.when.fits(&alert(Status::DueSoon, "north")));
    assert!(!first.when.fits(&alert(Status::DueSoon, "south")));
    assert!(!first.when.fits(&alert(Status::Firing, "north")));
    assert!(!second.when.fits(&alert(Status::Firing, "north")), "a warning");
    let resolved = Alert { severity: crate::domain::alert::Severity::Critical, ..alert(Status::Resolved, "north") };
    assert!(!second.when.fits(&resolved), "without a status, what begins or goes on");
}

#[test]
fn mistakes_are_named_without_secrets() {
    for (section, said) in [
        ("  routes: [{to: [manager], via: [telegram]}]\n", "needs `notify.targets.telegram`"),
        (&format!("{TARGETS}  routes: [{{via: [mail]}}]\n"), "expected at least one recipient"),
        (&format!("{TARGETS}  routes: [{{to: [boss], via: [mail]}}]\n"), "expected manager, head"),
        (&format!("{TARGETS}  routes: [{{to: [{{user: 1, chat: 2}}], via: [mail]}}]\n"), "expected manager, head"),
        ("  targets: {telegram: {token: s3cret-of-the-bot}}\n", "expected a token"),
        ("  targets: {mail: {host: h, from: nobody}}\n", "expected an e-mail address"),
        ("  targets: {mail: {host: h, from: a@b.c, tls: none, user: u, password: s3cret-password}}\n", "unencrypted"),
        ("  targets: {bitrix24: {url: 'http://example.com/rest/1/s3cret/'}}\n", "without TLS"),
        ("  links: {public_url: 'https://fw.example.com', secret: s3cret}\n", "at least 16"),
        ("  digest: {via: [mail]}\n", "needs `notify.api`"),
        (&format!("{TARGETS}  api: {{url: 'http://localhost'}}\n  digest: {{via: [webhook]}}\n"), "cannot be sent by"),
        ("  people: {vera: {mail: 'vera at example'}}\n", "expected an e-mail address"),
    ] {
        let found = read(section).err().unwrap_or_else(|| panic!("accepted: {section}"));
        assert!(found.contains(said), "{section}: {found}");
        assert!(!found.contains("s3cret"), "{found}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let notify =
        read(&format!("{TARGETS}  links: {{public_url: 'https://fw.example.com/', secret: 0123456789abcdef}}\n"));
    let notify = notify.expect("a valid section");
    assert_eq!(notify.links.as_ref().map(|links| links.public_url.as_str()), Some("https://fw.example.com"));
    let shown = format!("{notify:?}");
    assert!(!shown.contains("0123456789abcdef") && !shown.contains("ABC-DEF"), "{shown}");
}
