//! Runs the scenario scripts: sequences of events with the expected output of each step.
//!
//! `UPDATE_SCRIPTS=1` writes the actual output into the scripts; review the difference before you keep it.
//! `scenarios/script.rs` documents the format.

#[path = "../scenarios/script.rs"]
mod script;
#[path = "../scenarios/stage.rs"]
mod stage;

use script::{Script, Step};
use stage::{Delivery, RunOutput};
use std::fs;
use std::path::{Path, PathBuf};

/// Every script, by name.
fn scripts() -> Vec<(PathBuf, Script)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .expect("tests/scenarios")
        .map(|entry| entry.expect("tests/scenarios").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "script"))
        .collect();
    files.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a script");
        let script = Script::parse(&text).unwrap_or_else(|problem| panic!("{}: {problem}", path.display()));
        (path, script)
    };
    files.into_iter().map(read).collect()
}

fn run(path: &Path, script: &Script, delivery: Delivery) -> RunOutput {
    script.run(delivery).unwrap_or_else(|problem| panic!("{}: {problem}", path.display()))
}

/// Adds the differences between expected and actual text of a script to `failures`.
fn compare(path: &Path, expected: &str, found: &str, failures: &mut String) {
    if expected != found {
        *failures += &format!("\n{}:\n", path.display());
        *failures += &difference(&expected.lines().collect::<Vec<_>>(), &found.lines().collect::<Vec<_>>());
    }
}

/// The lines that differ, with the steps around them.
fn difference(expected: &[&str], found: &[&str]) -> String {
    let mut table = vec![vec![0_usize; found.len() + 1]; expected.len() + 1];
    for i in (0..expected.len()).rev() {
        for j in (0..found.len()).rev() {
            table[i][j] =
                if expected[i] == found[j] { table[i + 1][j + 1] + 1 } else { table[i + 1][j].max(table[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut output, mut step) = (0, 0, String::new(), None);
    while i < expected.len() || j < found.len() {
        let same = i < expected.len() && j < found.len() && expected[i] == found[j];
        if same {
            step = Some(expected[i]).filter(|line| line.starts_with('>')).or(step);
            (i, j) = (i + 1, j + 1);
            continue;
        }
        if let Some(step) = step.take() {
            output += &format!("  {step}\n");
        }
        if j == found.len() || (i < expected.len() && table[i + 1][j] >= table[i][j + 1]) {
            output += &format!("- {}\n", expected[i]);
            i += 1;
        } else {
            output += &format!("+ {}\n", found[j]);
            j += 1;
        }
    }
    output
}

#[test]
fn scripts_give_the_expected_output() {
    let update = std::env::var_os("UPDATE_SCRIPTS").is_some();
    let mut failures = String::new();
    for (path, script) in scripts() {
        let found = script.with(&run(&path, &script, Delivery::AsWritten).output).text();
        if update && found != script.text() {
            // Atomically, because other tests read it at the same time.
            let fresh = path.with_extension("fresh");
            fs::write(&fresh, found).and_then(|()| fs::rename(fresh, &path)).expect("write a script");
        } else {
            compare(&path, &script.text(), &found, &mut failures);
        }
    }
    assert!(failures.is_empty(), "(- expected, + found; UPDATE_SCRIPTS=1 accepts what was found){failures}");
}

#[test]
fn duplicates_do_not_matter() {
    compare_delivery(Delivery::Twice);
}

#[test]
fn the_order_of_arrival_does_not_matter() {
    compare_delivery(Delivery::Reversed);
}

/// Whether a line counts late or duplicate events, whose number depends on the delivery.
fn is_count(line: &str) -> bool {
    line.starts_with("duplicates: ") || line.starts_with("late: ")
}

fn compare_delivery(delivery: Delivery) {
    let mut failures = String::new();
    for (path, script) in scripts() {
        let mut expected = run(&path, &script, Delivery::AsWritten).output;
        if delivery == Delivery::Twice {
            expected.iter_mut().for_each(|output| output.retain(|line| !is_count(line)));
        }
        let found = run(&path, &script, delivery).output;
        compare(&path, &script.with(&expected).text(), &script.with(&found).text(), &mut failures);
    }
    assert!(failures.is_empty(), "{delivery:?} (- as written, + found){failures}");
}

#[test]
fn the_number_of_watermark_moves_does_not_matter() {
    let mut failures = String::new();
    let mut played = 0;
    for (path, script) in scripts() {
        let output = run(&path, &script, Delivery::AsWritten);
        if output.time_dependent {
            continue;
        }
        played += 1;
        // The output of all moves, and the figures after the last one.
        let all = |run: RunOutput| {
            let steps: Vec<_> = script.steps().zip(run.output).collect();
            let last = steps.iter().rposition(|(step, _)| matches!(step, Step::Watermark(_))).unwrap_or_default();
            let output = |(number, (step, output)): (usize, (&Step, Vec<String>))| match step {
                Step::Figures(..) if number < last => Vec::new(),
                _ => output,
            };
            let mut lines: Vec<String> = steps.into_iter().enumerate().flat_map(output).collect();
            lines.retain(|line| !is_count(line));
            lines.join("\n")
        };
        compare(&path, &all(output), &all(run(&path, &script, Delivery::AtOnce)), &mut failures);
    }
    assert!(played > 0, "no script was run");
    assert!(failures.is_empty(), "(- step by step, + at once){failures}");
}

#[test]
fn scripts_are_written_as_they_are_read() {
    for (path, script) in scripts() {
        let text = fs::read_to_string(&path).expect("a script");
        assert_eq!(script.text(), text, "{}", path.display());
        assert!(text.starts_with("# "), "{}: a script begins with a comment", path.display());
    }
}
