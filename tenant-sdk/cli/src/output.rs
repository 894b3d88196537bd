//! What verbs print: a table for people, JSON for programs.

use std::io::{self, Write as _};

use serde::Serialize;

/// How results are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: the API's own shapes.
    Json,
}

/// Rows under headings.
#[derive(Debug)]
pub(crate) struct Table {
    headings: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) const fn new(headings: &'static [&'static str]) -> Self {
        Self {
            headings,
            rows: Vec::new(),
        }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.headings.len());
        self.rows.push(cells.into());
    }

    fn text(&self) -> String {
        let width = |at: usize| {
            let cells = self.rows.iter().map(|row| row[at].chars().count());
            cells.chain([self.headings[at].len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.headings.len()).map(width).collect();
        let headings = self
            .headings
            .iter()
            .map(|heading| heading.to_uppercase())
            .collect();
        let mut text = String::new();
        for row in std::iter::once(&headings).chain(&self.rows) {
            let cells = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"));
            text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            text.push('\n');
        }
        text
    }
}

/// Prints a result in the format that was asked for.
pub(crate) fn print(
    format: Format,
    result: &impl Serialize,
    table: impl FnOnce() -> Table,
) -> anyhow::Result<()> {
    let text = match format {
        Format::Table => table().text(),
        Format::Json => serde_json::to_string_pretty(result)? + "\n",
    };
    Ok(io::stdout().lock().write_all(text.as_bytes())?)
}

/// A word on what happened, for people only.
pub(crate) fn note(line: &str) {
    // With standard error gone there is nobody to tell.
    writeln!(io::stderr(), "{line}").unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["slug", "plan"]);
        table.row(["demo".into(), "dev".into()]);
        table.row(["ümläut-long".into(), "free".into()]);
        let expected = "SLUG         PLAN\ndemo         dev\nümläut-long  free\n";
        assert_eq!(table.text(), expected);
    }
}
