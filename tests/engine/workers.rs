//! Tests the dataflow with several workers, epoch by epoch.

use funnelwatch::codec::Encoding;
use funnelwatch::config::parse_norms;
use funnelwatch::dataflow::epoch::Batch;
use funnelwatch::dataflow::messages::EpochHeader;
use funnelwatch::dataflow::settings::DataflowSettings;
use funnelwatch::dataflow::workers;
use funnelwatch::domain::norms::Norms;
use funnelwatch::domain::shard::partitioner;
use funnelwatch::domain::shard::processor::{ShardProgress, Timing};
use funnelwatch::domain::source::{Offset, ShardId, Source};
use funnelwatch::domain::time::Timestamp;
use std::sync::Arc;

const SHARDS: u32 = 4;

fn norms(within: &str) -> Arc<Norms> {
    let text = format!("norms: {{first_response_late: {{within: {within}}}}}");
    Arc::new(parse_norms("test", &text).unwrap_or_else(|problems| panic!("{problems}")).norms)
}

/// One lead per tenant, at minute 0.
fn leads(tenants: &[String]) -> Arc<Batch> {
    let mut batch = Batch::new(Source::Files, None, Encoding::Json);
    for (offset, tenant) in (0..).zip(tenants) {
        let text = format!(
            r#"{{"event_id":"1","tenant_id":"{tenant}","occurred_at":"1970-01-01T00:00:00Z",
            "lead_created":{{"lead_id":"1"}}}}"#
        );
        batch.push(Offset(offset), None, text.as_bytes());
    }
    Arc::new(batch)
}

#[test]
fn reloaded_norms_apply_on_every_worker_and_to_later_shards() {
    let timing = Timing { max_future_skew: None, follows_clock: false, ..Timing::default() };
    let settings = DataflowSettings { shards: SHARDS, ..DataflowSettings::new(norms("1h"), timing) };
    let (sender, mut collector, guards) = workers::start(2, settings).expect("threads");
    let tenant = |wanted| {
        let name = (0..).map(|n| format!("t{n}")).find(|name| partitioner::shard(name, SHARDS) == wanted);
        name.expect("such a name exists")
    };
    // Two shards on two workers get a tenant before the reload, the other two after it.
    let [before, after] = [[0, 1], [2, 3]].map(|shards| shards.map(ShardId).map(tenant));
    let mut epoch = 0;
    let mut run = |minute: i64, norms: Option<Arc<Norms>>, batches| {
        let close = Some(Timestamp(minute * 60_000));
        let other_shards = Some(ShardProgress { close, ..ShardProgress::default() });
        assert!(sender.send(EpochHeader { epoch, other_shards, norms, ..EpochHeader::default() }, batches));
        epoch += 1;
        let output = collector.next_epoch().expect("workers are running");
        let mut late: Vec<_> = output.alerts.iter().map(|alert| alert.tenant.as_str().to_owned()).collect();
        late.sort();
        late
    };
    assert_eq!(run(10, None, vec![vec![leads(&before)]]), [""; 0]);
    assert_eq!(run(20, Some(norms("15m")), vec![vec![leads(&after)]]), {
        let mut all = [before, after].concat();
        all.sort();
        all
    });
    drop(sender);
    guards.join().into_iter().collect::<Result<(), _>>().expect("no panic");
}
