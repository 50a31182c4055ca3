//! What a command did: for people, and for programs.
use serde_json::Value;

/// What a command says when it has done its work.
pub(super) struct Report {
    /// For people; without a line break at the end.
    pub(super) text: String,
    /// For `--json`.
    pub(super) json: Value,
    /// Whether some of it could not be done, and the exit status says so.
    pub(super) failed: bool,
}

impl Report {
    pub(super) fn new(text: impl Into<String>, json: Value) -> Self {
        Self { text: text.into(), json, failed: false }
    }
}

/// Rows under headings, in columns as wide as they need to be.
pub(super) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([headings[column].len()]).max().unwrap_or_default()
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |cells: [&str; N]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}  "));
        padded.collect::<String>().trim_end().to_owned()
    };
    let mut lines = vec![line(headings)];
    lines.extend(rows.iter().map(|row| line(std::array::from_fn(|column| row[column].as_str()))));
    lines.join("\n")
}

/// What a stranger wrote, made fit for a terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".into(), "long enough".into()], ["äöü".into(), "b".into()]];
        assert_eq!(table(["id", "what"], &rows), "id   what\na    long enough\näöü  b");
        assert_eq!(table(["id"], &[]), "id");
    }
}
