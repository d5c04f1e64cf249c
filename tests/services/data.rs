//! Owns the proof on real data: through Kafka, with any number of workers, the same comes out as from a replay of the
//! files.

use super::site::{Site, latest, lines, replay_file, say, settings_of, values};
use funnelwatch::codec::json;
use funnelwatch::edge::kafka::Mode;
use funnelwatch::edge::kafka::producer::EventProducer;
use std::io::BufRead;
use std::path::PathBuf;
use std::sync::Arc;

/// The folder of the data sets: `FUNNELWATCH_DATA`, or beside the repository.
fn data() -> PathBuf {
    let folder = std::env::var("FUNNELWATCH_DATA")
        .map_or_else(|_| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    assert!(folder.is_dir(), "{} is not there: set FUNNELWATCH_DATA to the folder of the data sets", folder.display());
    folder
}

fn through_kafka(name: &str) {
    let file = data().join(format!("{name}.ndjson.gz"));
    let norms = std::fs::read_to_string(data().join(name.replace("_january", "")).with_extension("norms.yaml"))
        .expect("the norms are read");
    // The sets are older than the correction horizon would have it, were any of it late.
    let extra = format!("{norms}\ntime: {{watermark_follows_clock: false}}\nengine: {{epoch: 50ms}}\n");
    let (mut alerts, mut rows) = (Vec::new(), Vec::new());
    for workers in [1, 2, 4] {
        let site = Site::new(&name.replace('_', "-"), 4, &extra);
        let mut config = site.config.clone();
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
        assert!(producer.flush(super::site::PATIENCE));
        assert!(sent > 1000);
        if alerts.is_empty() {
            (alerts, rows) = lines(&config, &replay_file(&config, &file, None));
            assert!(!alerts.is_empty() && !rows.is_empty());
        }
        let settings = settings_of(&config, Arc::new(config.norms.clone()));
        let summary = Site::start_with(config, settings, Mode::Once).join().expect("the run ends well");
        assert_eq!(summary.dead_letters, 0);
        assert!(values(&site.read("alerts")) == alerts, "{name}: alerts with {workers} workers differ");
        assert!(latest(&site.read("metrics")) == rows, "{name}: rows with {workers} workers differ");
        say(&format!("{name}: {sent} events, {workers} workers: {summary:?}"));
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
