//! Tests group membership: processes that join and leave share the shards, each message is output exactly once, and
//! only the shards that move are paused.

use super::child::Child;
use super::fixture::{Fixture, PATIENCE, QUICK, Raw, Seen, at, client, lead, report, tick, until, values};
use funnelwatch::domain::shard::partitioner::shard;
use funnelwatch::domain::source::ShardId;
use funnelwatch::edge::kafka::Mode;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Sends messages to the partitions of the CRM topic in turn, until it is stopped.
struct Sender {
    finished: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Sender {
    /// Sends messages that are not events: each becomes a dead letter.
    fn of_malformed(fixture: &Fixture) -> Self {
        Self::start(fixture, |index| format!("no event {index:07}"))
    }

    /// Sends events without effect, in order of event time.
    fn of_ticks(fixture: &Fixture) -> Self {
        let tenants: Vec<_> = (0..fixture.partitions).map(|shard| tenant(shard, fixture.partitions)).collect();
        Self::start(fixture, move |index| {
            let tenant = &tenants[index % tenants.len()];
            let event = tick(tenant, &index.to_string(), at(index as f64 / 100.0));
            let mut line = Vec::new();
            funnelwatch::codec::json::encode_event(&event, &mut line);
            String::from_utf8(line).expect("UTF-8")
        })
    }

    fn start(fixture: &Fixture, text: impl Fn(usize) -> String + Send + 'static) -> Self {
        let (finished, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (topic, partitions) = (fixture.topic("crm"), fixture.partitions as usize);
        let thread = std::thread::spawn({
            let (finished, sent) = (Arc::clone(&finished), Arc::clone(&sent));
            move || {
                let raw = Raw::new();
                while !finished.load(Ordering::Relaxed) {
                    let index = sent.fetch_add(1, Ordering::Relaxed);
                    raw.send(&topic, (index % partitions) as i32, None, Some(text(index).as_bytes()), &[]);
                    std::thread::sleep(Duration::from_millis(1));
                }
                raw.flush();
            }
        });
        Self { finished, sent, thread }
    }

    /// Stops sending and returns the number of messages sent.
    fn stop(self) -> usize {
        self.finished.store(true, Ordering::Relaxed);
        self.thread.join().expect("all is sent");
        self.sent.load(Ordering::Relaxed)
    }
}

/// A tenant whose shard is `wanted` out of `count`.
fn tenant(wanted: u32, count: u32) -> String {
    (0..).map(|n| format!("t{n}")).find(|name| shard(name, count) == ShardId(wanted)).expect("some name")
}

/// Asserts that each message sent became one dead letter.
fn assert_exactly_once(fixture: &Fixture, sent: usize) {
    let sent: Vec<_> = (0..sent).map(|index| format!("no event {index:07}")).collect();
    let letters = values(&fixture.await_records("dlq", sent.len()));
    assert_eq!(letters.len(), sent.len());
    assert_eq!(letters, sent);
    fixture.await_no_lag();
}

#[test]
fn joining_and_leaving_processes_lose_and_duplicate_nothing() {
    let fixture = Fixture::new("group", 6, QUICK);
    let sender = Sender::of_malformed(&fixture);
    let first = fixture.start(Mode::Live);
    first.await_assignment();
    let second = Fixture::start_as(fixture.sibling("1"), Mode::Live);
    second.await_assignment();
    until("both have shards", || first.shards().len() == 3 && second.shards().len() == 3);
    std::thread::sleep(Duration::from_secs(1));
    let first = first.stop();
    until("the second has all shards", || second.shards().len() == 6);
    let third = Fixture::start_as(fixture.sibling("2"), Mode::Live);
    third.await_assignment();
    std::thread::sleep(Duration::from_secs(1));
    let third = third.stop();
    std::thread::sleep(Duration::from_millis(500));
    let sent = sender.stop();
    assert_exactly_once(&fixture, sent);
    let second = second.stop();
    assert!(first.dead_letters > 0 && second.dead_letters > 0 && third.dead_letters > 0);
    assert_eq!(first.dead_letters + second.dead_letters + third.dead_letters, sent as u64);
}

/// The longest time between two commits of events of a shard, over all processes.
fn longest_pause(seen: &[&Seen], shard: ShardId) -> Duration {
    let commits = |seen: &&Seen| seen.commits.lock().expect("no panic").get(&shard).cloned().unwrap_or_default();
    let mut commits: Vec<_> = seen.iter().flat_map(commits).collect();
    commits.sort();
    commits.windows(2).map(|pair| pair[1].0 - pair[0].0).max().unwrap_or_default()
}

#[test]
fn shards_that_do_not_move_are_committed_throughout_a_rebalance() {
    let fixture = Fixture::new("keep", 4, QUICK);
    let sender = Sender::of_ticks(&fixture);
    let first = fixture.start(Mode::Live);
    first.await_assignment();
    until("all shards are assigned", || first.shards().len() == 4);
    std::thread::sleep(Duration::from_secs(1));
    let moved = Instant::now();
    let second = Fixture::start_as(fixture.sibling("1"), Mode::Live);
    until("both have shards", || first.shards().len() == 2 && second.shards().len() == 2);
    let took = moved.elapsed();
    let kept: BTreeSet<ShardId> = first.shards().into_iter().collect();
    std::thread::sleep(Duration::from_secs(1));
    let second_seen = Arc::clone(&second.seen);
    second.stop();
    until("the first has all shards again", || first.shards().len() == 4);
    std::thread::sleep(Duration::from_secs(1));
    let sent = sender.stop();
    fixture.await_no_lag();
    let history = first.seen.shards.lock().expect("no panic").clone();
    let start = history.iter().position(|shards| shards.len() == 4).expect("all shards were assigned");
    for shards in &history[start..] {
        assert!(kept.iter().all(|shard| shards.contains(shard)), "{history:?}");
    }
    for shard in (0..4).map(ShardId) {
        let pause = longest_pause(&[&first.seen, &second_seen], shard);
        let kind = if kept.contains(&shard) { "stays" } else { "moves" };
        report(&format!("shard {shard} {kind}: at most {} ms between two commits", pause.as_millis()));
        if kept.contains(&shard) {
            assert!(pause < Duration::from_millis(700), "shard {shard}");
            let applied: u64 =
                first.seen.commits.lock().expect("no panic")[&shard].iter().map(|(_, applied)| *applied).sum();
            let expected = (0..sent).filter(|index| index % 4 == shard.0 as usize).count();
            assert_eq!(applied, expected as u64, "each event is applied once");
        }
    }
    report(&format!("the second process has its shards after {} ms", took.as_millis()));
    let epochs = first.seen.epochs.lock().expect("no panic").clone();
    assert!(epochs.windows(2).all(|pair| pair[1] == pair[0] + 1), "no epoch is lost");
    first.stop();
}

#[test]
fn partition_p_of_all_topics_is_read_by_one_process() {
    let fixture = Fixture::new("copartition", 5, QUICK);
    let first = fixture.start(Mode::Live);
    first.await_assignment();
    let second = Fixture::start_as(fixture.sibling("1"), Mode::Live);
    until("both have shards", || first.shards().len() + second.shards().len() == 5 && !second.shards().is_empty());
    let raw = Raw::new();
    for partition in 0..5 {
        for topic in ["crm", "telephony", "email", "rerouted"] {
            raw.send(&fixture.topic(topic), partition, None, Some(b"no event"), &[]);
        }
    }
    raw.flush();
    assert_eq!(fixture.await_records("dlq", 20).len(), 20);
    let mut rejected_partitions = 0;
    for running in [&first, &second] {
        let (shards, rejected) = (running.shards(), running.seen.rejected.lock().expect("no panic").clone());
        rejected_partitions += rejected.len();
        assert_eq!(rejected.len(), shards.len() * 4, "{rejected:?}");
        assert!(rejected.iter().all(|(shard, _)| shards.contains(shard)), "{rejected:?}, {shards:?}");
    }
    assert_eq!(rejected_partitions, 20);
    first.stop();
    second.stop();
}

#[test]
fn an_open_transaction_on_one_shard_does_not_delay_the_others() {
    let fixture = Fixture::new("open", 2, QUICK);
    let id = fixture.topic("other");
    let producer: BaseProducer = client().set("transactional.id", &id).create().expect("a producer");
    producer.init_transactions(PATIENCE).expect("init_transactions succeeds");
    producer.begin_transaction().expect("a transaction");
    let member: BaseConsumer = client().set("group.id", &fixture.config.kafka.group).create().expect("a consumer");
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(&fixture.topic("crm"), 1, Offset::Offset(1)).expect("an offset");
    let identity = member.group_metadata().expect("an identity");
    producer.send_offsets_to_transaction(&offsets, &identity, PATIENCE).expect("the transaction covers shard 1");
    let raw = Raw::new();
    for partition in [0, 1] {
        ["first", "second"].iter().for_each(|text| {
            raw.send(&fixture.topic("crm"), partition, None, Some(text.as_bytes()), &[]);
        });
    }
    raw.flush();
    let running = fixture.start(Mode::Live);
    assert_eq!(values(&fixture.await_records("dlq", 2)), ["first", "second"]);
    assert_eq!(running.shards(), [ShardId(0)]);
    producer.commit_transaction(PATIENCE).expect("the transaction is committed");
    // The other producer committed offset 1, so the first message of shard 1 is not read.
    assert_eq!(values(&fixture.await_records("dlq", 3)), ["first", "second", "second"]);
    assert_eq!(running.shards(), [0, 1].map(ShardId));
    running.stop();
}

#[test]
fn a_stopping_process_releases_its_shards_at_once() {
    let fixture = Fixture::new("leave", 4, QUICK);
    let sender = Sender::of_malformed(&fixture);
    let other = fixture.start(Mode::Live);
    other.await_assignment();
    let child = Child::start(&fixture, "1");
    until("both have shards", || other.shards().len() == 2 && child.log_count("reading 2 shards") == 1);
    std::thread::sleep(Duration::from_millis(500));
    let asked = Instant::now();
    let status = child.stop();
    let ended = asked.elapsed();
    assert!(status.success(), "{status}");
    until("the other has all shards", || other.shards().len() == 4);
    let taken_over = asked.elapsed();
    report(&format!(
        "the process exited after {} ms, its shards are read again after {} ms",
        ended.as_millis(),
        taken_over.as_millis()
    ));
    assert!(taken_over < Duration::from_secs(3));
    assert_exactly_once(&fixture, sender.stop());
    other.stop();
}

#[test]
fn a_crashed_process_that_restarts_with_its_id_gets_its_shards_without_a_rebalance() {
    let fixture = Fixture::new("crash", 4, QUICK);
    let sender = Sender::of_malformed(&fixture);
    let other = fixture.start(Mode::Live);
    other.await_assignment();
    let mut child = Child::start(&fixture, "1");
    until("both have shards", || other.shards().len() == 2 && child.log_count("reading 2 shards") == 1);
    let before = other.seen.shards.lock().expect("no panic").clone();
    std::thread::sleep(Duration::from_millis(700));
    child.kill();
    let killed = Instant::now();
    let child = Child::start(&fixture, "1");
    until("it reads its shards again", || child.log_count("reading 2 shards") == 1);
    report(&format!("killed: reads its shards again after {} ms", killed.elapsed().as_millis()));
    assert!(killed.elapsed() < Duration::from_secs(6), "within the session timeout");
    std::thread::sleep(Duration::from_secs(1));
    assert_exactly_once(&fixture, sender.stop());
    assert_eq!(
        *other.seen.shards.lock().expect("no panic"),
        before,
        "the assignment of the other process did not change"
    );
    assert!(child.stop().success());
    other.stop();
}

#[test]
fn a_suspended_process_does_not_commit_stale_epochs_and_rejoins() {
    let fixture = Fixture::new("zombie", 4, QUICK);
    let sender = Sender::of_malformed(&fixture);
    let other = fixture.start(Mode::Live);
    other.await_assignment();
    let mut child = Child::start(&fixture, "1");
    // Restarting the child resets its log, and this count.
    let mut assignments = 0;
    for round in 0..3 {
        until("both have shards", || other.shards().len() == 2 && child.log_count("reading 2 shards") > assignments);
        assignments += 1;
        std::thread::sleep(Duration::from_millis(730 + 50 * round));
        child.signal("-STOP");
        let suspended = Instant::now();
        until("the other has all shards", || other.shards().len() == 4);
        // Longer than the session timeout by its own clock, too.
        std::thread::sleep(Duration::from_secs(6).saturating_sub(suspended.elapsed()));
        child.signal("-CONT");
        let resumed = Instant::now();
        let mut exited = None;
        until("it reads its shards again, or has exited", || {
            exited = child.exit_status();
            exited.is_some() || child.log_count("reading 2 shards") > assignments
        });
        let took = resumed.elapsed();
        if let Some(status) = exited {
            // The broker aborted its transaction after the timeout and fenced it.
            assert_eq!(status.code(), Some(1), "{:#?}", child.log());
            assert!(child.log_count("fenced") > 0, "{:#?}", child.log());
            child = Child::start(&fixture, "1");
            assignments = 0;
        } else {
            // Fenced by the broker's timeout, it replaces its clients within the process; else it drops what it has not committed.
            let (abandoned, replaced) =
                (child.log_count("abandoned uncommitted epochs"), child.log_count("starting again with new clients"));
            assert!(abandoned + replaced >= assignments, "{:#?}", child.log());
        }
        report(&format!(
            "suspended for {} ms: {} after {} ms",
            (resumed - suspended).as_millis(),
            if exited.is_some() { "exited" } else { "reads its shards again" },
            took.as_millis()
        ));
    }
    std::thread::sleep(Duration::from_secs(1));
    assert_exactly_once(&fixture, sender.stop());
    assert!(child.stop().success());
    other.stop();
}

#[test]
fn a_shard_that_does_not_move_keeps_its_state() {
    let fixture = Fixture::new("stay", 2, QUICK);
    let first = fixture.start(Mode::Live);
    first.await_assignment();
    // One waiting lead in each shard.
    let tenants = [tenant(0, 2), tenant(1, 2)];
    for tenant in &tenants {
        fixture.produce(&[lead(tenant, "1", at(0.0))]);
    }
    until("both events are applied", || *first.seen.applied.lock().expect("no panic") == 2);
    let second = Fixture::start_as(fixture.sibling("1"), Mode::Live);
    second.await_assignment();
    until("the shards are shared", || first.shards().len() == 1);
    let ShardId(kept) = first.shards()[0];
    // The deadline passes: the process that kept the shard raises the alert.
    fixture.produce(&[tick(&tenants[kept as usize], "2", at(5000.0))]);
    let alerts = fixture.await_records("alerts", 1);
    assert_eq!(alerts.len(), 1);
    assert_eq!(alerts[0].header("tenant"), Some(tenants[kept as usize].as_str()));
    first.stop();
    second.stop();
}

#[test]
fn a_fenced_producer_is_replaced_within_the_process() {
    let fixture = Fixture::new("replaced", 3, QUICK);
    let sender = Sender::of_malformed(&fixture);
    let running = fixture.start(Mode::Live);
    running.await_assignment();
    for _ in 0..2 {
        let restarts = || running.seen.restarts.lock().expect("no panic").len();
        let before = restarts();
        // Brokers fence the producer in the same way after its transaction has timed out.
        let other: BaseProducer =
            client().set("transactional.id", &fixture.config.kafka.transactional_id).create().expect("a producer");
        other.init_transactions(PATIENCE).expect("it takes over the transactional id");
        until("the run starts again", || restarts() > before);
        let reads = || running.seen.shards.lock().expect("no panic").len();
        let lists = reads();
        until("all shards are read again", || reads() > lists && running.shards().len() == 3);
    }
    let sent = sender.stop();
    assert_exactly_once(&fixture, sent);
    assert!(!running.is_finished());
    running.stop();
}

#[test]
fn a_second_process_with_the_same_id_fences_the_first() {
    let fixture = Fixture::new("fenced", 2, QUICK);
    let first = fixture.start(Mode::Live);
    first.await_assignment();
    let second = fixture.start(Mode::Live);
    let raw = Raw::new();
    until("the first has exited", || {
        raw.send(&fixture.topic("crm"), 0, None, Some(b"no event"), &[]);
        raw.send(&fixture.topic("crm"), 1, None, Some(b"no event"), &[]);
        raw.flush();
        first.is_finished()
    });
    let error = first.join().expect_err("the first process is fenced");
    assert!(error.to_string().to_lowercase().contains("fenced"), "{error}");
    assert!(error.to_string().ends_with("another process has the same transactional_id"), "{error}");
    fixture.await_no_lag();
    second.stop();
}
