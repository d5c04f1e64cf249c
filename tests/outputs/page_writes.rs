//! Tests what the page lists behind figures, and what its forms write: reviews, and who takes care of an alert.

use super::api::exchange;
use super::lists::{bearer, send, start, users};
use funnelwatch::config::Api;
use serde_json::json;
use std::net::SocketAddr;

const ACME: &str = "/t/acme%20north";

fn get(address: SocketAddr, path: &str, headers: &str) -> String {
    let (status, page) = send(address, &format!("GET {path}"), headers, "");
    assert_eq!(status, 200, "{path}: {page}");
    page
}

#[test]
fn a_review_is_a_form_that_becomes_an_event() {
    let (address, written) = start(users());
    let page = get(address, &format!("{ACME}/reviews"), &bearer("judge"));
    for part in [
        "1 conversation to review",
        "Vera",
        "outbound call, 1 min",
        "href=\"https://records.example.org/c2\" target=\"_blank\" rel=\"noopener noreferrer\"",
        "action=\"/t/acme%20north/reviews/c2\"",
        "Agreed on the next step",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("zoe") && !page.contains("reviews/s1"), "the letter of another department: {page}");
    let read_only = get(address, &format!("{ACME}/reviews"), &bearer("reader"));
    assert!(
        read_only.contains("2 conversations to review") && !read_only.contains("<form class=\"review\""),
        "{read_only}"
    );
    assert!(get(address, &format!("{ACME}/reviews?lang=ru"), &bearer("reader")).contains("Проверить 2 разговора"));
    // The case that was reviewed before.
    assert!(page.contains("Best and worst cases") && page.contains("<b>90</b>"), "{page}");

    let form = "content-type: application/x-www-form-urlencoded\r\n";
    let good = "item=Greeting&item=Next+step&passed=Greeting&score=70&verdict=SUCCESS&comment=%D0%A5%D0%BE%D1%80%D0%BE%D1%88%D0%BE";
    let own = format!("{}origin: http://localhost\r\n{form}", bearer("judge"));
    let post = |id: &str, headers: &str, body: &str| {
        let (head, _) = exchange(address, &format!("POST {ACME}/reviews/{id}"), "localhost", headers, body);
        head
    };
    for (id, headers, body, status) in [
        ("c2", own.clone(), "score=101&verdict=SUCCESS", "400"),
        ("c2", own.clone(), "verdict=SUCCESS", "400"),
        ("c2", own.clone(), "", "400"),
        ("s1", own.clone(), good, "404"),
        ("none", own.clone(), good, "404"),
        ("c2", format!("{}{form}", bearer("reader")), good, "403"),
        ("c2", form.to_owned(), good, "303"),
    ] {
        let head = post(id, &headers, body);
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{id} {headers} {body}: {head}");
    }
    assert!(written.lock().expect("no panic").is_empty());
    let head = post("c2", &own, good);
    assert!(head.contains("location: /t/acme%20north/reviews?done=c2"), "{head}");
    let event = written.lock().expect("no panic").pop().expect("an event").1;
    let expected = json!({"interaction_id": "c2", "manager_id": "vera", "reviewer_id": "judge", "score": 70.0, "verdict": "SUCCESS",
        "checklist": [{"item": "Greeting", "passed": true}, {"item": "Next step", "passed": false}], "comment": "Хорошо"});
    assert_eq!(event["interaction_reviewed"], expected);
    let done = get(address, &format!("{ACME}/reviews?done=c2"), &bearer("judge"));
    assert!(done.contains("The review is saved") && !done.contains("action=\"/t/acme%20north/reviews/c2\""), "{done}");
}

#[test]
fn without_tokens_forms_of_other_sites_are_refused() {
    let (address, written) = start(Api::default());
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    let page = get(address, ACME, "");
    let taken = page.split("action=\"").find(|part| part.contains("/taken\"")).expect("a form");
    let taken = taken.split('"').next().expect("an address").to_owned();
    for headers in
        [form.to_owned(), format!("{form}origin: null\r\n"), format!("{form}origin: http://evil.example.org\r\n")]
    {
        assert_eq!(send(address, &format!("POST {taken}"), &headers, "").0, 403, "{headers}");
        assert_eq!(
            send(address, &format!("POST {ACME}/reviews/c2"), &headers, "score=1&verdict=SUCCESS").0,
            403,
            "{headers}"
        );
    }
    assert!(written.lock().expect("no panic").is_empty());
    let own = format!("{form}origin: http://localhost\r\n");
    assert_eq!(send(address, &format!("POST {taken}"), &own, "").0, 303);
    assert_eq!(send(address, &format!("POST {ACME}/alerts/none/taken"), &own, "").0, 404);
    let event = written.lock().expect("no panic").pop().expect("an event").1;
    assert_eq!(event["alert_taken"]["manager_id"], "head of sales");
}

#[test]
fn a_figure_of_a_person_leads_to_what_it_counts() {
    let (address, _) = start(users());
    let person = get(address, &format!("{ACME}/managers/vera?window=7d"), &bearer("judge"));
    let link = "/t/acme%20north/figures/calls?window=7d&amp;manager=vera&amp;direction=outbound&amp;outcome=answered";
    assert!(person.contains(link), "{person}");
    let page = get(address, &link.replace("&amp;", "&"), &bearer("judge"));
    for part in ["Calls: 2", "lead 3", "<small>c1</small>", "<small>c2</small>", "/leads/3"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let csv = get(address, &format!("{ACME}/figures/calls.csv?window=7d&manager=vera"), &bearer("judge"));
    assert_eq!(csv.lines().count(), 4, "two calls out, one missed: {csv}");
    let others = get(address, &format!("{ACME}/figures/leads_received?window=7d"), &bearer("judge"));
    assert!(others.contains("Leads received: 2") && !others.contains("zoe") && !others.contains("lead 1<"), "{others}");
    assert_eq!(send(address, &format!("GET {ACME}/figures/none"), &bearer("judge"), "").0, 404);
    // Numbers are shown to those who may see them, and to nobody else.
    assert!(get(address, &format!("{ACME}/leads/1"), &bearer("desk")).contains("href=\"tel:+79160000001\""));
    assert!(!get(address, &format!("{ACME}/leads/1"), &bearer("reader")).contains("7916"));
}
