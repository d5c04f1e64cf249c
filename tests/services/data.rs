//! Tests real data sets: a run through Kafka with any number of workers produces the same output as a replay of the
//! files.

use super::fixture::{Fixture, latest, lines, replay_file, report, settings_of, values};
use funnelwatch::codec::json;
use funnelwatch::edge::kafka::Mode;
use funnelwatch::edge::kafka::producer::EventProducer;
use std::io::BufRead;
use std::path::PathBuf;
use std::sync::Arc;

/// The folder of the data sets: `FUNNELWATCH_DATA`, or next to the repository.
fn data() -> PathBuf {
    let folder = std::env::var("FUNNELWATCH_DATA")
        .map_or_else(|_| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    assert!(
        folder.is_dir(),
        "{} does not exist: set FUNNELWATCH_DATA to the folder of the data sets",
        folder.display()
    );
    folder
}

fn through_kafka(name: &str) {
    let file = data().join(format!("{name}.ndjson.gz"));
    let norms = std::fs::read_to_string(data().join(name.replace("_january", "")).with_extension("norms.yaml"))
        .expect("the norms are readable");
    // The events are older than the correction horizon. This does not matter, because none of them is late.
    let extra = format!("{norms}\ntime: {{watermark_follows_clock: false}}\nengine: {{epoch: 50ms}}\n");
    let (mut alerts, mut rows) = (Vec::new(), Vec::new());
    for workers in [1, 2, 4] {
        let fixture = Fixture::new(&name.replace('_', "-"), 4, &extra);
        let mut config = fixture.config.clone();
        config.engine.workers = workers;
        let mut producer = EventProducer::new(&config).expect("a producer");
        let lines_in = std::io::BufReader::new(flate2::read::MultiGzDecoder::new(
            std::fs::File::open(&file).expect("the data set opens"),
        ));
        let mut sent = 0;
        for line in lines_in.lines() {
            let event = json::decode(line.expect("a line").as_bytes()).expect("an event");
            producer.send(&event).expect("an event is sent");
            sent += 1;
        }
        assert!(producer.flush(super::fixture::PATIENCE));
        assert!(sent > 1000);
        if alerts.is_empty() {
            (alerts, rows) = lines(&config, &replay_file(&config, &file, None));
            assert!(!alerts.is_empty() && !rows.is_empty());
        }
        let settings = settings_of(&config, Arc::new(config.norms.clone()));
        let summary = Fixture::start_with(config, settings, Mode::Once).join().expect("the run succeeds");
        assert_eq!(summary.dead_letters, 0);
        assert!(values(&fixture.read("alerts")) == alerts, "{name}: alerts differ with {workers} workers");
        assert!(latest(&fixture.read("metrics")) == rows, "{name}: rows differ with {workers} workers");
        report(&format!("{name}: {sent} events, {workers} workers: {summary:?}"));
    }
}

#[test]
fn olist_funnel_through_kafka() {
    through_kafka("olist_funnel");
}

#[test]
fn technion_calls_through_kafka() {
    through_kafka("technion_calls_january");
}
