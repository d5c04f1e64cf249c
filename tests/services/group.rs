//! Owns the proof that processes that come and go share the work, and that each message comes out once.

use super::site::{QUICK, Raw, Site, until, values};
use funnelwatch::edge::kafka::Mode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

#[test]
fn processes_that_come_and_go_lose_nothing_and_repeat_nothing() {
    let site = Site::new("group", 6, QUICK);
    let topic = site.topic("crm");
    let (over, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let sender = std::thread::spawn({
        let (over, count) = (Arc::clone(&over), Arc::clone(&count));
        move || {
            let raw = Raw::new();
            while !over.load(Ordering::Relaxed) {
                let number = count.fetch_add(1, Ordering::Relaxed);
                raw.send(&topic, number as i32 % 6, None, Some(format!("no event {number:07}").as_bytes()), &[]);
                std::thread::sleep(Duration::from_millis(1));
            }
            raw.flush();
        }
    });
    let first = site.start(Mode::Live);
    first.await_assignment();
    let second = Site::start_as(site.sibling("1"), Mode::Live);
    second.await_assignment();
    let owned = |running: &super::site::Running| {
        running.seen.shards.lock().expect("no panic").last().cloned().unwrap_or_default()
    };
    until("both have work", || owned(&first).len() == 3 && owned(&second).len() == 3);
    std::thread::sleep(Duration::from_secs(1));
    let first = first.stop();
    until("the second has all of it", || owned(&second).len() == 6);
    let third = Site::start_as(site.sibling("2"), Mode::Live);
    third.await_assignment();
    std::thread::sleep(Duration::from_secs(1));
    let third = third.stop();
    std::thread::sleep(Duration::from_millis(500));
    over.store(true, Ordering::Relaxed);
    sender.join().expect("all is sent");
    let sent: Vec<_> = (0..count.load(Ordering::Relaxed)).map(|number| format!("no event {number:07}")).collect();
    let letters = site.await_records("dlq", sent.len());
    let second = second.stop();
    assert_eq!(values(&letters), sent);
    assert!(first.dead_letters > 0 && second.dead_letters > 0 && third.dead_letters > 0);
    assert_eq!(first.dead_letters + second.dead_letters + third.dead_letters, sent.len() as u64);
    site.await_no_lag();
}

#[test]
fn a_shard_that_stays_keeps_its_state_when_others_come_and_go() {
    let site = Site::new("stay", 2, QUICK);
    let first = site.start(Mode::Live);
    first.await_assignment();
    // A lead that waits in each shard.
    let tenant = |shard| {
        (0..).map(|n| format!("t{n}")).find(|t| funnelwatch::domain::shard::shard(t, 2) == shard).expect("some name")
    };
    let tenants = [tenant(0), tenant(1)];
    for tenant in &tenants {
        site.produce(&[super::site::lead(tenant, "1", super::site::at(0.0))]);
    }
    until("both are applied", || *first.seen.applied.lock().expect("no panic") == 2);
    let second = Site::start_as(site.sibling("1"), Mode::Live);
    second.await_assignment();
    until("the shards are shared", || {
        first.seen.shards.lock().expect("no panic").last().is_some_and(|shards| shards.len() == 1)
    });
    let kept = first.seen.shards.lock().expect("no panic").last().expect("an assignment")[0];
    // The deadline passes: who kept the shard raises the alert; the other shard's state is gone until it is durable.
    site.produce(&[super::site::tick(&tenants[kept as usize], "2", super::site::at(5000.0))]);
    let alerts = site.await_records("alerts", 1);
    assert_eq!(alerts.len(), 1);
    assert_eq!(alerts[0].header("tenant"), Some(tenants[kept as usize].as_str()));
    first.stop();
    second.stop();
}

#[test]
fn a_second_process_of_the_same_name_fences_the_first() {
    let site = Site::new("fenced", 2, QUICK);
    let first = site.start(Mode::Live);
    first.await_assignment();
    let second = site.start(Mode::Live);
    let raw = Raw::new();
    until("the first has ended", || {
        raw.send(&site.topic("crm"), 0, None, Some(b"no event"), &[]);
        raw.send(&site.topic("crm"), 1, None, Some(b"no event"), &[]);
        raw.flush();
        first.is_finished()
    });
    let error = first.join().expect_err("it is fenced");
    assert!(error.to_string().to_lowercase().contains("fenced"), "{error}");
    site.await_no_lag();
    second.stop();
}
