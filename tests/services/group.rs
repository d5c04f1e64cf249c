//! Owns the proof that processes that come and go share the work, that each message comes out once, and that only the
//! shards that move rest.

use super::child::Child;
use super::site::{PATIENCE, QUICK, Raw, Seen, Site, at, client, lead, say, tick, until, values};
use funnelwatch::domain::partitioner::shard;
use funnelwatch::edge::kafka::Mode;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Sends one message after another to the partitions of the CRM topic in turn, until it is told to end.
struct Sender {
    over: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Sender {
    /// What is no event: each message comes out as a dead letter.
    fn of_letters(site: &Site) -> Self {
        Self::start(site, |number| format!("no event {number:07}"))
    }

    /// Events that change nothing, dated one after another.
    fn of_ticks(site: &Site) -> Self {
        let tenants: Vec<_> = (0..site.partitions).map(|of| tenant(of, site.partitions)).collect();
        Self::start(site, move |number| {
            let tenant = &tenants[number % tenants.len()];
            let event = tick(tenant, &number.to_string(), at(number as f64 / 100.0));
            let mut line = Vec::new();
            funnelwatch::codec::json::encode_event(&event, &mut line);
            String::from_utf8(line).expect("UTF-8")
        })
    }

    fn start(site: &Site, text: impl Fn(usize) -> String + Send + 'static) -> Self {
        let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (topic, partitions) = (site.topic("crm"), site.partitions as usize);
        let thread = std::thread::spawn({
            let (over, sent) = (Arc::clone(&over), Arc::clone(&sent));
            move || {
                let raw = Raw::new();
                while !over.load(Ordering::Relaxed) {
                    let number = sent.fetch_add(1, Ordering::Relaxed);
                    raw.send(&topic, (number % partitions) as i32, None, Some(text(number).as_bytes()), &[]);
                    std::thread::sleep(Duration::from_millis(1));
                }
                raw.flush();
            }
        });
        Self { over, sent, thread }
    }

    /// Ends; how many were sent.
    fn end(self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("all is sent");
        self.sent.load(Ordering::Relaxed)
    }
}

/// A tenant of this shard.
fn tenant(of: u32, count: u32) -> String {
    (0..).map(|n| format!("t{n}")).find(|name| shard(name, count) == of).expect("some name")
}

/// What is sent comes out, each message once.
fn each_once(site: &Site, sent: usize) {
    let sent: Vec<_> = (0..sent).map(|number| format!("no event {number:07}")).collect();
    let letters = values(&site.await_records("dlq", sent.len()));
    assert_eq!(letters.len(), sent.len());
    assert_eq!(letters, sent);
    site.await_no_lag();
}

#[test]
fn processes_that_come_and_go_lose_nothing_and_repeat_nothing() {
    let site = Site::new("group", 6, QUICK);
    let sender = Sender::of_letters(&site);
    let first = site.start(Mode::Live);
    first.await_assignment();
    let second = Site::start_as(site.sibling("1"), Mode::Live);
    second.await_assignment();
    until("both have work", || first.shards().len() == 3 && second.shards().len() == 3);
    std::thread::sleep(Duration::from_secs(1));
    let first = first.stop();
    until("the second has all of it", || second.shards().len() == 6);
    let third = Site::start_as(site.sibling("2"), Mode::Live);
    third.await_assignment();
    std::thread::sleep(Duration::from_secs(1));
    let third = third.stop();
    std::thread::sleep(Duration::from_millis(500));
    let sent = sender.end();
    each_once(&site, sent);
    let second = second.stop();
    assert!(first.dead_letters > 0 && second.dead_letters > 0 && third.dead_letters > 0);
    assert_eq!(first.dead_letters + second.dead_letters + third.dead_letters, sent as u64);
}

/// The longest time that passed between two commits of a shard's events, by whichever process.
fn longest_rest(seen: &[&Seen], shard: u32) -> Duration {
    let commits = |seen: &&Seen| seen.commits.lock().expect("no panic").get(&shard).cloned().unwrap_or_default();
    let mut commits: Vec<_> = seen.iter().flat_map(commits).collect();
    commits.sort();
    commits.windows(2).map(|pair| pair[1].0 - pair[0].0).max().unwrap_or_default()
}

#[test]
fn shards_that_stay_are_read_and_committed_all_the_while() {
    let site = Site::new("keep", 4, QUICK);
    let sender = Sender::of_ticks(&site);
    let first = site.start(Mode::Live);
    first.await_assignment();
    until("all is assigned", || first.shards().len() == 4);
    std::thread::sleep(Duration::from_secs(1));
    let moved = Instant::now();
    let second = Site::start_as(site.sibling("1"), Mode::Live);
    until("both have work", || first.shards().len() == 2 && second.shards().len() == 2);
    let took = moved.elapsed();
    let kept: BTreeSet<u32> = first.shards().into_iter().collect();
    std::thread::sleep(Duration::from_secs(1));
    let other = Arc::clone(&second.seen);
    second.stop();
    until("the first has all of it again", || first.shards().len() == 4);
    std::thread::sleep(Duration::from_secs(1));
    let sent = sender.end();
    site.await_no_lag();
    let history = first.seen.shards.lock().expect("no panic").clone();
    let begun = history.iter().position(|shards| shards.len() == 4).expect("all were assigned");
    for shards in &history[begun..] {
        assert!(kept.iter().all(|shard| shards.contains(shard)), "{history:?}");
    }
    for shard in 0..4 {
        let rest = longest_rest(&[&first.seen, &other], shard);
        let stays = if kept.contains(&shard) { "stays" } else { "moves" };
        say(&format!("shard {shard} {stays}: at most {} ms between two commits", rest.as_millis()));
        if kept.contains(&shard) {
            assert!(rest < Duration::from_millis(700), "shard {shard}");
            let applied: u64 =
                first.seen.commits.lock().expect("no panic")[&shard].iter().map(|(_, applied)| *applied).sum();
            let of_this = (0..sent).filter(|number| number % 4 == shard as usize).count();
            assert_eq!(applied, of_this as u64, "each once");
        }
    }
    say(&format!("the second process has its shares after {} ms", took.as_millis()));
    let epochs = first.seen.epochs.lock().expect("no panic").clone();
    assert!(epochs.windows(2).all(|pair| pair[1] == pair[0] + 1), "no epoch is lost");
    first.stop();
}

#[test]
fn partition_p_of_all_topics_is_read_by_one_process() {
    let site = Site::new("copartition", 5, QUICK);
    let first = site.start(Mode::Live);
    first.await_assignment();
    let second = Site::start_as(site.sibling("1"), Mode::Live);
    until("both have work", || first.shards().len() + second.shards().len() == 5 && !second.shards().is_empty());
    let raw = Raw::new();
    for partition in 0..5 {
        for topic in ["crm", "telephony", "email", "rerouted"] {
            raw.send(&site.topic(topic), partition, None, Some(b"no event"), &[]);
        }
    }
    raw.flush();
    assert_eq!(site.await_records("dlq", 20).len(), 20);
    let mut places = 0;
    for running in [&first, &second] {
        let (shards, refused) = (running.shards(), running.seen.refused.lock().expect("no panic").clone());
        places += refused.len();
        assert_eq!(refused.len(), shards.len() * 4, "{refused:?}");
        assert!(refused.iter().all(|(shard, _)| shards.contains(shard)), "{refused:?}, {shards:?}");
    }
    assert_eq!(places, 20);
    first.stop();
    second.stop();
}

#[test]
fn a_transaction_that_is_open_on_one_shard_holds_up_no_other() {
    let site = Site::new("open", 2, QUICK);
    let id = site.topic("other");
    let producer: BaseProducer = client().set("transactional.id", &id).create().expect("a producer");
    producer.init_transactions(PATIENCE).expect("it begins");
    producer.begin_transaction().expect("a transaction");
    let member: BaseConsumer = client().set("group.id", &site.config.kafka.group).create().expect("a consumer");
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(&site.topic("crm"), 1, Offset::Offset(1)).expect("an offset");
    let identity = member.group_metadata().expect("an identity");
    producer.send_offsets_to_transaction(&offsets, &identity, PATIENCE).expect("it is open on shard 1");
    let raw = Raw::new();
    for partition in [0, 1] {
        ["first", "second"].iter().for_each(|text| {
            raw.send(&site.topic("crm"), partition, None, Some(text.as_bytes()), &[]);
        });
    }
    raw.flush();
    let running = site.start(Mode::Live);
    assert_eq!(values(&site.await_records("dlq", 2)), ["first", "second"]);
    assert_eq!(running.shards(), [0]);
    producer.commit_transaction(PATIENCE).expect("it is closed");
    // It was read up to there by somebody else.
    assert_eq!(values(&site.await_records("dlq", 3)), ["first", "second", "second"]);
    assert_eq!(running.shards(), [0, 1]);
    running.stop();
}

#[test]
fn a_process_that_stops_leaves_its_shards_to_others_at_once() {
    let site = Site::new("leave", 4, QUICK);
    let sender = Sender::of_letters(&site);
    let stays = site.start(Mode::Live);
    stays.await_assignment();
    let child = Child::start(&site, "1");
    until("both have work", || stays.shards().len() == 2 && child.told("reading 2 shards") == 1);
    std::thread::sleep(Duration::from_millis(500));
    let asked = Instant::now();
    let status = child.stop();
    let ended = asked.elapsed();
    assert!(status.success(), "{status}");
    until("the other has all of it", || stays.shards().len() == 4);
    let taken = asked.elapsed();
    say(&format!(
        "the process ended after {} ms, its shards are read after {} ms",
        ended.as_millis(),
        taken.as_millis()
    ));
    assert!(taken < Duration::from_secs(3));
    each_once(&site, sender.end());
    stays.stop();
}

#[test]
fn a_process_that_crashed_and_comes_back_under_its_name_gets_its_shards_without_a_rebalance() {
    let site = Site::new("crash", 4, QUICK);
    let sender = Sender::of_letters(&site);
    let stays = site.start(Mode::Live);
    stays.await_assignment();
    let mut child = Child::start(&site, "1");
    until("both have work", || stays.shards().len() == 2 && child.told("reading 2 shards") == 1);
    let before = stays.seen.shards.lock().expect("no panic").clone();
    std::thread::sleep(Duration::from_millis(700));
    child.kill();
    let killed = Instant::now();
    let child = Child::start(&site, "1");
    until("it reads again", || child.told("reading 2 shards") == 1);
    say(&format!("killed, it reads its shards again after {} ms", killed.elapsed().as_millis()));
    assert!(killed.elapsed() < Duration::from_secs(6), "within the session");
    std::thread::sleep(Duration::from_secs(1));
    each_once(&site, sender.end());
    assert_eq!(*stays.seen.shards.lock().expect("no panic"), before, "the other noticed nothing");
    assert!(child.stop().success());
    stays.stop();
}

#[test]
fn a_process_that_was_frozen_commits_nothing_of_before_and_comes_back() {
    let site = Site::new("zombie", 4, QUICK);
    let sender = Sender::of_letters(&site);
    let stays = site.start(Mode::Live);
    stays.await_assignment();
    let mut child = Child::start(&site, "1");
    // Of a child that was started anew the log begins anew.
    let mut begun = 0;
    for round in 0..3 {
        until("both have work", || stays.shards().len() == 2 && child.told("reading 2 shards") > begun);
        begun += 1;
        std::thread::sleep(Duration::from_millis(730 + 50 * round));
        child.signal("-STOP");
        let frozen = Instant::now();
        until("the other has all of it", || stays.shards().len() == 4);
        // Its own clock tells it, too, that the session is over.
        std::thread::sleep(Duration::from_secs(6).saturating_sub(frozen.elapsed()));
        child.signal("-CONT");
        let woken = Instant::now();
        let mut ended = None;
        until("it reads again, or has ended", || {
            ended = child.ended();
            ended.is_some() || child.told("reading 2 shards") > begun
        });
        let took = woken.elapsed();
        if let Some(status) = ended {
            // Its transaction was open for so long that the broker took it back: then nothing of its name goes on.
            assert_eq!(status.code(), Some(1), "{:#?}", child.log());
            assert!(child.told("fenced") > 0, "{:#?}", child.log());
            child = Child::start(&site, "1");
            begun = 0;
        } else {
            assert!(child.told("is not committed any more") >= begun, "{:#?}", child.log());
        }
        say(&format!(
            "frozen for {} ms, it {} after {} ms",
            (woken - frozen).as_millis(),
            if ended.is_some() { "has ended" } else { "reads again" },
            took.as_millis()
        ));
    }
    std::thread::sleep(Duration::from_secs(1));
    each_once(&site, sender.end());
    assert!(child.stop().success());
    stays.stop();
}

#[test]
fn a_shard_that_stays_keeps_its_state_when_others_come_and_go() {
    let site = Site::new("stay", 2, QUICK);
    let first = site.start(Mode::Live);
    first.await_assignment();
    // A lead that waits in each shard.
    let tenants = [tenant(0, 2), tenant(1, 2)];
    for tenant in &tenants {
        site.produce(&[lead(tenant, "1", at(0.0))]);
    }
    until("both are applied", || *first.seen.applied.lock().expect("no panic") == 2);
    let second = Site::start_as(site.sibling("1"), Mode::Live);
    second.await_assignment();
    until("the shards are shared", || first.shards().len() == 1);
    let kept = first.shards()[0];
    // The deadline passes: who kept the shard raises the alert; the other shard's state is gone until it is durable.
    site.produce(&[tick(&tenants[kept as usize], "2", at(5000.0))]);
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
