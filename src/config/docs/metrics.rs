//! Owns `docs/metrics.md`: every metric with its kind, unit, labels and help, written from the enum alone.

use crate::telemetry::metric::{BOUNDS, Level, Metric, MetricGroup};
use std::fmt::Write as _;

const INTRODUCTION: &str = "\
<!-- Written from src/telemetry/metric.rs by `UPDATE_DOCS=1 cargo test config::docs`; change it there. -->

# Metrics

What `/metrics` shows, on the address that `http` says, in Prometheus' text format. What figures mean stands in
[definitions](definitions.md); which of them are exported for single managers, and how many series there may be, in
[configuration](configuration.md#prometheus). Boards and rules over them: [boards](boards.md), [operation](operate.md).

- **One instant.** All figures of a tenant in one scrape are of the same watermark. They are what the workers know; their
  commit follows within milliseconds.
- **No ghosts.** A manager who is gone leaves no series. Managers and departments without any figure have none; shares,
  means and quantiles of no cases have none either.
- **Several processes.** A tenant is exported by the process that holds its shard. While a shard moves, two may export it
  for one scrape: aggregate with `max by (tenant, department, manager)` before anything else.
- **Sums.** Figures of managers, departments and tenants have names of their own. Do not add managers up to departments:
  quantiles and distinct deals cannot be added.
- **Labels.** `department` is `unknown` for managers without one. `window` is a window's size as the norms spell it. `q` is
  a quantile. `clock` is `wall` or `business`. No label holds a lead, a deal, a phone or an address.
";

/// The page.
pub fn reference() -> String {
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
The usual `process_*` metrics (CPU seconds, resident memory, open files, threads, start time) are there as well.
";

fn heading(group: MetricGroup) -> (&'static str, &'static str) {
    match group {
        MetricGroup::Window => (
            "Figures over a window",
            "Three metrics each: `funnelwatch_tenant_…`, `funnelwatch_department_…`, `funnelwatch_manager_…`, with the \
             labels `tenant`, `department`, `manager` as far as they apply, and `window`, before their own.",
        ),
        MetricGroup::Now => ("Figures of this instant", "As above, without `window`."),
        MetricGroup::Norm => (
            "Norms",
            "What the figures are held against, as it is in force in each department; labels `tenant` and `department` \
             stand before their own. Overrides by pipeline and source are not in them.",
        ),
        MetricGroup::Processor => ("The processor", "What each process says of itself."),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_reference_is_the_one_in_docs() {
        super::super::tests::hold("metrics.md", &super::reference());
    }
}
