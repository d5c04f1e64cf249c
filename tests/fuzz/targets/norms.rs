//! Fuzzes norms documents: nothing panics, and every problem has a valid line.

#![no_main]

use funnelwatch::config::parse_norms;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // Skip documents that could read files or environment variables of the machine.
    if text.contains("include") || text.contains("file") || text.contains("${") {
        return;
    }
    let lines = 1 + text.chars().filter(|character| matches!(character, '\n' | '\r')).count();
    let (notes, problems) = match parse_norms("norms", text) {
        Ok(document) => (document.notes, Vec::new()),
        Err(problems) => {
            assert!(!problems.0.is_empty());
            (Vec::new(), problems.0)
        }
    };
    for problem in notes.iter().chain(&problems) {
        assert_eq!(problem.file, "norms");
        assert!((1..=lines).contains(&problem.line), "of {lines} lines: {problem}");
    }
});
