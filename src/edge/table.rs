//! Text tables with columns as wide as their contents. Crates for tables draw borders and wrap lines, which would have to
//! be turned off; that takes as much code.

use crate::telemetry::clean::clean;
use std::fmt;

/// A table of text.
#[derive(Debug, Default)]
pub struct Table {
    /// Names of columns, and whether their values are right-aligned.
    head: Vec<(String, bool)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns: `<` before a name aligns values left, `>` right.
    pub fn new(columns: &str) -> Self {
        let mut table = Self::default();
        columns.split_whitespace().for_each(|column| table.column(column));
        table
    }

    /// Adds a column.
    pub fn column(&mut self, name: &str) {
        let plain = name.trim_start_matches(['<', '>']).replace('_', " ");
        self.head.push((plain, name.starts_with('>')));
    }

    /// Adds a row; its values are cleaned.
    pub fn row(&mut self, values: Vec<String>) {
        self.rows.push(values.iter().map(|value| clean(value)).collect());
    }

    /// Number of rows.
    pub fn height(&self) -> usize {
        self.rows.len()
    }

    /// The rows, indented, without the header.
    pub fn body(&self) -> String {
        let widths = self.widths(&[]);
        self.rows.iter().map(|row| format!("  {}\n", self.line(row, &widths))).collect()
    }

    fn widths(&self, names: &[String]) -> Vec<usize> {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).chain(names.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        (0..self.head.len()).map(width).collect()
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let cells = row.iter().zip(&self.head).zip(widths).map(|((cell, (_, right)), width)| {
            if *right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.head.iter().map(|(name, _)| name.clone()).collect();
        let widths = self.widths(&names);
        for row in std::iter::once(&names).chain(&self.rows) {
            writeln!(f, "{}", self.line(row, &widths))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_contents() {
        let mut table = Table::new("<tenant >first_events");
        table.row(vec!["a".into(), "7".into()]);
        table.row(vec!["компания".into(), "12".into()]);
        assert_eq!(table.to_string(), "tenant    first events\na                    7\nкомпания            12\n");
        assert_eq!(table.body(), "  a          7\n  компания  12\n");
        assert_eq!(table.height(), 2);
    }

    #[test]
    fn cells_cannot_control_the_terminal() {
        let mut table = Table::new("<tenant");
        table.row(vec!["a\u{1b}[2J".into()]);
        assert_eq!(table.body(), "  a\\u{1b}[2J\n");
    }
}
