//! Generates `docs/metrics.md` from the [`Metric`] enum: every metric with its kind, unit, labels and help.

use crate::telemetry::metric::{BOUNDS, Level, Metric, MetricGroup};
use std::fmt::Write as _;

const INTRODUCTION: &str = "\
<!-- Generated from src/telemetry/metric.rs by `UPDATE_DOCS=1 cargo test config::docs`; edit it there. -->

# Metrics

`/metrics` serves these metrics in the Prometheus text format on the address set by `http`. The figures are defined in
[definitions](definitions.md). Which of them are exported per manager, and how many series are allowed, is set in
[configuration](configuration.md#prometheus). For dashboards and alerting rules, see [boards](boards.md) and
[operation](operate.md).

- **Consistency.** All figures of a tenant in one scrape refer to the same watermark. They are the current state of the
  workers; the commit follows within milliseconds.
- **No stale series.** Removed managers leave no series behind. Managers and departments without figures have no series;
  shares, means and quantiles of empty samples have none either.
- **Several processes.** A tenant is exported by the process that owns its shard. While a shard moves, two processes may
  export it in the same scrape: aggregate with `max by (tenant, department, manager)` first.
- **Sums.** Figures of managers, departments and tenants have separate metric names. Do not sum managers to get a
  department: quantiles and distinct deals are not additive.
- **Labels.** `department` is `unknown` for managers without a department. `window` is the window size as spelled in the
  norms. `q` is a quantile. `clock` is `wall` or `business`. No label contains a lead, a deal, a phone number or an
  address.
";

/// The content of `docs/metrics.md`.
pub(super) fn reference() -> String {
    let mut page = INTRODUCTION.to_owned();
    for group in MetricGroup::ALL {
        let (title, about) = heading(group);
        // Writing to a string cannot fail.
        let _ = write!(
            page,
            "\n## {title}\n\n{about}\n\n| metric | kind | unit | labels | help |\n|---|---|---|---|---|\n"
        );
        for metric in Metric::ALL.iter().filter(|metric| metric.group() == group) {
            let name = match group {
                MetricGroup::Window | MetricGroup::Now => format!("…_{}", metric.stem()),
                MetricGroup::Norm | MetricGroup::Processor => metric.name(Level::Tenant),
            };
            let labels: Vec<_> = metric.labels().iter().map(|label| format!("`{label}`")).collect();
            let (kind, unit) = (metric.kind().name(), metric.unit().name());
            let _ = writeln!(page, "| `{name}` | {kind} | {unit} | {} | {} |", labels.join(" "), metric.help());
        }
    }
    let bounds: Vec<_> = BOUNDS.iter().map(f64::to_string).collect();
    let _ = write!(page, "\nHistograms have buckets up to {} seconds.\n", bounds.join(", "));
    page + PROCESS
}

const PROCESS: &str = "\
The standard `process_*` metrics (CPU seconds, resident memory, open files, threads, start time) are also exported.
";

fn heading(group: MetricGroup) -> (&'static str, &'static str) {
    match group {
        MetricGroup::Window => (
            "Figures over a window",
            "Each is exported as three metrics: `funnelwatch_tenant_…`, `funnelwatch_department_…` and \
             `funnelwatch_manager_…`. The labels `tenant`, `department`, `manager` (as applicable) and `window` come \
             before their own labels.",
        ),
        MetricGroup::Now => ("Current figures", "As above, without `window`."),
        MetricGroup::Norm => (
            "Norms",
            "The norms in force in each department. The labels `tenant` and `department` precede their own labels. \
             Overrides by pipeline and source are not included.",
        ),
        MetricGroup::Processor => ("Processor", "Metrics of each process."),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_in_docs_is_up_to_date() {
        super::super::tests::assert_document("metrics.md", &super::reference());
    }
}
