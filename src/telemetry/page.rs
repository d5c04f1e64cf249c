//! Builds the text of a scrape: samples arrive in any order and are grouped by family, as the Prometheus text format
//! requires (<https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>).
//!
//! Lines are written directly to the buffer of their family. The `prometheus` crate's tree of samples would allocate a
//! string for each label of each sample: a million samples would take seconds.

use super::metric::{BOUNDS, Family, Level, Metric};
use std::io::Write as _;

/// A scrape under construction.
pub(super) struct Page {
    families: Vec<Lines>,
    /// Maximum number of series of figures, norms and names.
    limit: usize,
    /// Bytes left; none after a series did not fit, so that less important ones do not take its place.
    room: usize,
    /// Series of figures and norms so far, and the number left out at each level.
    written: usize,
    left_out: [usize; Level::ALL.len()],
}

/// The lines of a family at one level.
struct Lines {
    name: String,
    lines: Vec<u8>,
}

/// Room for what a page ends with: the metrics about the page itself, and those of the process.
const TAIL: usize = 16 << 10;

pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

impl Page {
    /// An empty page for at most `limit` series of figures and norms, and `bytes` of text. `sizes` are those of the
    /// previous page, as capacity hints.
    pub(super) fn new(limit: usize, bytes: usize, sizes: &[usize]) -> Self {
        let families = Family::all().iter().flat_map(|family| Level::ALL.map(|level| family.name(level)));
        let families = families.zip(sizes.iter().copied().chain(std::iter::repeat(0)));
        let lines = |(name, size)| Lines { name, lines: Vec::with_capacity(size + size / 64) };
        let families = families.map(lines).collect();
        Self { families, limit, room: bytes.saturating_sub(TAIL), written: 0, left_out: [0; Level::ALL.len()] }
    }

    /// The number of series of figures and norms on the page.
    pub(super) fn written(&self) -> usize {
        self.written
    }

    /// The number of series of a level left out.
    pub(super) fn left_out(&self, level: Level) -> usize {
        self.left_out[level as usize]
    }

    /// Adds a sample of a figure or a norm, by the index of its family; `subject` holds its first labels, from
    /// [`subject`]. If the page is full, the sample is left out and counted.
    pub(super) fn figure(&mut self, family: usize, level: Level, subject: &[u8], own: Labels<'_>, value: f64) {
        self.limited(family, level, level, |name, lines| {
            lines.extend_from_slice(name.as_bytes());
            lines.push(b'{');
            lines.extend_from_slice(subject);
            write_labels(own, !subject.is_empty(), lines);
            lines.push(b'}');
            finish(value, lines);
        });
    }

    /// Adds a sample of a figure that has one name at all levels, like [`Self::figure`].
    pub(super) fn figure_of(&mut self, level: Level, metric: Metric, labels: Labels<'_>, value: f64) {
        self.limited(metric.index(), Level::ALL[0], level, |name, lines| line(name, "", labels, value, lines));
    }

    /// Writes a line of a figure of a level, unless the page is full; `named`: the level by which its family is named.
    fn limited(&mut self, family: usize, named: Level, level: Level, write: impl FnOnce(&str, &mut Vec<u8>)) {
        if self.written < self.limit && self.bounded(family, named, write) {
            self.written += 1;
        } else {
            self.left_out[level as usize] += 1;
        }
    }

    /// Adds a sample of a processor metric about a subject of this level. If there is no room for it, it is left out and
    /// counted.
    pub(super) fn sample_of(&mut self, level: Level, metric: Metric, labels: Labels<'_>, value: f64) {
        if !self.bounded(metric.index(), Level::ALL[0], |name, lines| line(name, "", labels, value, lines)) {
            self.left_out[level as usize] += 1;
        }
    }

    /// Adds a sample of a processor metric, of which there is a fixed number.
    pub(super) fn sample(&mut self, metric: Metric, labels: Labels<'_>, value: f64) {
        let Lines { name, lines } = &mut self.families[metric.index() * Level::ALL.len()];
        let before = lines.len();
        line(name, "", labels, value, lines);
        self.room = self.room.saturating_sub(lines.len() - before);
    }

    /// Writes a line if there is room for it.
    fn bounded(&mut self, family: usize, level: Level, write: impl FnOnce(&str, &mut Vec<u8>)) -> bool {
        let Lines { name, lines } = &mut self.families[family * Level::ALL.len() + level as usize];
        let before = lines.len();
        write(name, lines);
        let mut cost = lines.len() - before;
        if before == 0 {
            cost += name.len() * 2 + Family::all()[family].help.len() + "# HELP  \n# TYPE  histogram\n".len();
        }
        let fits = cost <= self.room;
        if !fits {
            lines.truncate(before);
        }
        self.room = if fits { self.room - cost } else { 0 };
        fits
    }

    /// Adds a histogram: the counts in each bucket of [`BOUNDS`] and beyond, and the sum of values.
    pub(super) fn histogram(&mut self, metric: Metric, buckets: &[u64], sum: f64) {
        let Lines { name, lines } = &mut self.families[metric.index() * Level::ALL.len()];
        let bounds = BOUNDS.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        let mut below = 0;
        for (n, bound) in buckets.iter().zip(bounds) {
            below += n;
            line(name, "_bucket", &[("le", &bound)], below as f64, lines);
        }
        line(name, "_sum", &[], sum, lines);
        line(name, "_count", &[], below as f64, lines);
    }

    /// The size of the lines so far, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.families.iter().map(|family| family.lines.len()).sum()
    }

    /// The sizes of the families, in bytes.
    pub(super) fn sizes(&self) -> Vec<usize> {
        self.families.iter().map(|family| family.lines.len()).collect()
    }

    pub(super) fn finish(self) -> Vec<u8> {
        let all = self.bytes();
        let mut text = Vec::with_capacity(all + all / 8 + (64 << 10));
        let each = Family::all().iter().flat_map(|family| Level::ALL.map(|_| family));
        for (family, Lines { name, lines }) in each.zip(self.families) {
            if !lines.is_empty() {
                // Writing to memory cannot fail.
                let _ = write!(text, "# HELP {name} {}\n# TYPE {name} {}\n", family.help, family.kind.name());
                text.extend_from_slice(&lines);
            }
        }
        text
    }
}

fn line(name: &str, suffix: &str, labels: Labels<'_>, value: f64, into: &mut Vec<u8>) {
    into.extend_from_slice(name.as_bytes());
    into.extend_from_slice(suffix.as_bytes());
    if !labels.is_empty() {
        into.push(b'{');
        write_labels(labels, false, into);
        into.push(b'}');
    }
    finish(value, into);
}

/// The first labels of all samples of one subject, formatted once and copied.
pub(super) fn subject(labels: Labels<'_>) -> Vec<u8> {
    let mut subject = Vec::with_capacity(64);
    write_labels(labels, false, &mut subject);
    subject
}

/// Writes `name="value"` for each label, separated by commas; `more`: other labels precede them.
fn write_labels(labels: Labels<'_>, mut more: bool, into: &mut Vec<u8>) {
    for (name, value) in labels {
        if std::mem::replace(&mut more, true) {
            into.push(b',');
        }
        into.extend_from_slice(name.as_bytes());
        into.extend_from_slice(b"=\"");
        for byte in value.bytes() {
            match byte {
                b'\\' => into.extend_from_slice(b"\\\\"),
                b'"' => into.extend_from_slice(b"\\\""),
                b'\n' => into.extend_from_slice(b"\\n"),
                byte => into.push(byte),
            }
        }
        into.push(b'"');
    }
}

/// Ends a line with its value. Most values are integers, which are faster to format.
fn finish(value: f64, into: &mut Vec<u8>) {
    const EXACT: f64 = (1u64 << 53) as f64;
    // Writing to memory cannot fail.
    let _ = if value.fract() == 0.0 && value.abs() < EXACT {
        writeln!(into, " {}", value as i64)
    } else {
        writeln!(into, " {value}")
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(stem: &str) -> usize {
        Family::all().iter().position(|family| family.stem == stem).expect("a family")
    }

    fn text(page: Page) -> String {
        String::from_utf8(page.finish()).expect("UTF-8")
    }

    #[test]
    fn families_are_grouped_and_labels_are_escaped() {
        let mut page = Page::new(10, usize::MAX, &[]);
        let [touches, calls] = ["touches", "calls"].map(family);
        for (id, n) in [("a\"b\\c\nd", 1.0), ("ю", -0.125)] {
            let subject = subject(&[("tenant", id)]);
            page.figure(touches, Level::Tenant, &subject, &[], n);
            page.figure(calls, Level::Tenant, &subject, &[("direction", "inbound")], 1e300);
        }
        let huge = format!("1{}", "0".repeat(300));
        let expected = [
            "# HELP funnelwatch_tenant_calls Calls; an answered call is a conversation.",
            "# TYPE funnelwatch_tenant_calls gauge",
            &format!(r#"funnelwatch_tenant_calls{{tenant="a\"b\\c\nd",direction="inbound"}} {huge}"#),
            &format!(r#"funnelwatch_tenant_calls{{tenant="ю",direction="inbound"}} {huge}"#),
            "# HELP funnelwatch_tenant_touches Acts of managers towards customers: calls, messages and meetings.",
            "# TYPE funnelwatch_tenant_touches gauge",
            r#"funnelwatch_tenant_touches{tenant="a\"b\\c\nd"} 1"#,
            r#"funnelwatch_tenant_touches{tenant="ю"} -0.125"#,
        ];
        assert_eq!(text(page).lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn histogram_buckets_are_cumulative() {
        let mut page = Page::new(0, usize::MAX, &[]);
        let mut buckets = [0; BOUNDS.len() + 1];
        (buckets[1], buckets[3], buckets[BOUNDS.len()]) = (2, 1, 1);
        page.histogram(Metric::CommitSeconds, &buckets, 61.5);
        let text = text(page);
        for line in [
            "# TYPE funnelwatch_commit_seconds histogram",
            r#"funnelwatch_commit_seconds_bucket{le="0.001"} 0"#,
            r#"funnelwatch_commit_seconds_bucket{le="0.0025"} 2"#,
            r#"funnelwatch_commit_seconds_bucket{le="0.01"} 3"#,
            r#"funnelwatch_commit_seconds_bucket{le="60"} 3"#,
            r#"funnelwatch_commit_seconds_bucket{le="+Inf"} 4"#,
            "funnelwatch_commit_seconds_sum 61.5",
            "funnelwatch_commit_seconds_count 4",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn series_beyond_the_limit_are_counted() {
        let mut page = Page::new(1, usize::MAX, &[]);
        for level in Level::ALL {
            page.figure(family("touches"), level, b"", &[], 0.0);
        }
        assert_eq!((page.written(), Level::ALL.map(|level| page.left_out(level))), (1, [0, 1, 1]));
        assert_eq!(text(page).lines().count(), 3);
    }

    #[test]
    fn series_beyond_the_size_are_counted_and_smaller_ones_do_not_take_their_place() {
        let room = 600;
        let mut page = Page::new(100, TAIL + room, &[]);
        let long = "x".repeat(250);
        for id in [&long, &long, "short"] {
            page.figure(family("touches"), Level::Manager, b"", &[("manager", id)], 1.0);
        }
        page.sample_of(Level::Tenant, Metric::SharedContacts, &[("tenant", "acme")], 1.0);
        page.sample(Metric::Series, &[], 1.0);
        assert_eq!((page.written(), Level::ALL.map(|level| page.left_out(level))), (1, [1, 0, 2]));
        let text = text(page);
        assert!(text.len() <= room + TAIL && text.contains("funnelwatch_series 1\n"), "{text}");
    }
}
