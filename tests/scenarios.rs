//! Owns the scripts: stories of the sales floor, each with what must come of it, step by step. `UPDATE_SCRIPTS=1`
//! writes what comes of them into their files; read the difference before you keep it.
//!
//! How a script is written is told in `scenarios/script.rs`.

#[path = "scenarios/script.rs"]
mod script;
#[path = "scenarios/stage.rs"]
mod stage;

use script::{Script, Step};
use stage::{Delivery, Play};
use std::fs;
use std::path::{Path, PathBuf};

/// Every script, in order of its name.
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

fn play(path: &Path, script: &Script, delivery: Delivery) -> Play {
    script.play(delivery).unwrap_or_else(|problem| panic!("{}: {problem}", path.display()))
}

/// Fails with every script of which something else came than `expected`.
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
    let (mut i, mut j, mut told, mut step) = (0, 0, String::new(), None);
    while i < expected.len() || j < found.len() {
        let same = i < expected.len() && j < found.len() && expected[i] == found[j];
        if same {
            step = Some(expected[i]).filter(|line| line.starts_with('>')).or(step);
            (i, j) = (i + 1, j + 1);
            continue;
        }
        if let Some(step) = step.take() {
            told += &format!("  {step}\n");
        }
        if j == found.len() || (i < expected.len() && table[i + 1][j] >= table[i][j + 1]) {
            told += &format!("- {}\n", expected[i]);
            i += 1;
        } else {
            told += &format!("+ {}\n", found[j]);
            j += 1;
        }
    }
    told
}

#[test]
fn what_comes_of_a_script_is_what_it_says() {
    let update = std::env::var_os("UPDATE_SCRIPTS").is_some();
    let mut failures = String::new();
    for (path, script) in scripts() {
        let found = script.with(&play(&path, &script, Delivery::AsWritten).told).text();
        if update && found != script.text() {
            // Whole or not at all: the other tests read it at the same time.
            let fresh = path.with_extension("fresh");
            fs::write(&fresh, found).and_then(|()| fs::rename(fresh, &path)).expect("write a script");
        } else {
            compare(&path, &script.text(), &found, &mut failures);
        }
    }
    assert!(failures.is_empty(), "(- expected, + found; UPDATE_SCRIPTS=1 accepts what was found){failures}");
}

#[test]
fn what_is_said_twice_changes_nothing() {
    alike(Delivery::Twice);
}

#[test]
fn the_order_of_arrival_changes_nothing() {
    alike(Delivery::Backwards);
}

/// Whether a line counts events that were late or known: the delivery makes more or fewer of them.
fn counts(line: &str) -> bool {
    line.starts_with("duplicates: ") || line.starts_with("late: ")
}

fn alike(delivery: Delivery) {
    let mut failures = String::new();
    for (path, script) in scripts() {
        let mut expected = play(&path, &script, Delivery::AsWritten).told;
        if delivery == Delivery::Twice {
            expected.iter_mut().for_each(|told| told.retain(|line| !counts(line)));
        }
        let found = play(&path, &script, delivery).told;
        compare(&path, &script.with(&expected).text(), &script.with(&found).text(), &mut failures);
    }
    assert!(failures.is_empty(), "{delivery:?} (- as written, + found){failures}");
}

#[test]
fn how_often_the_watermark_moves_changes_nothing() {
    let mut failures = String::new();
    let mut played = 0;
    for (path, script) in scripts() {
        let told = play(&path, &script, Delivery::AsWritten);
        if told.timed {
            continue;
        }
        played += 1;
        // What comes of all moves, and the figures after the last one.
        let all = |play: Play| {
            let steps: Vec<_> = script.steps().zip(play.told).collect();
            let last = steps.iter().rposition(|(step, _)| matches!(step, Step::Watermark(_))).unwrap_or_default();
            let told = |(number, (step, told)): (usize, (&Step, Vec<String>))| match step {
                Step::Figures(..) if number < last => Vec::new(),
                _ => told,
            };
            let mut lines: Vec<String> = steps.into_iter().enumerate().flat_map(told).collect();
            lines.retain(|line| !counts(line));
            lines.join("\n")
        };
        compare(&path, &all(told), &all(play(&path, &script, Delivery::AtOnce)), &mut failures);
    }
    assert!(played > 0, "no script was played");
    assert!(failures.is_empty(), "(- step by step, + at once){failures}");
}

#[test]
fn a_script_is_written_as_it_was_read() {
    for (path, script) in scripts() {
        let text = fs::read_to_string(&path).expect("a script");
        assert_eq!(script.text(), text, "{}", path.display());
        assert!(text.starts_with("# "), "{}: a script begins with its story", path.display());
    }
}
