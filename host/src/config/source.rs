//! The text of a configuration file, and places in it.
use std::{
    fs::File,
    io::{self, Read},
    ops::Range,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Far more than any configuration needs, and little enough to be read without a thought.
const MAX_BYTES: u64 = 1 << 20;
/// Of a longer line only the part around the caret is shown.
const MAX_SHOWN: usize = 120;

/// Where something stands in the file that it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl From<Range<usize>> for Place {
    fn from(span: Range<usize>) -> Self {
        Self { start: span.start, end: span.end }
    }
}

/// The line that a problem stands on, and what of it the caret marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Excerpt {
    pub line: usize,
    pub column: usize,
    pub text: String,
    /// What stands under the text: spaces (and the text's tabs), then `^`.
    pub marks: String,
}

pub(super) struct Source {
    pub file: PathBuf,
    pub text: String,
    lines: Vec<usize>,
}

impl Source {
    pub(super) fn new(file: &Path, text: String) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        Self { file: file.to_owned(), text, lines }
    }

    /// What stands at the place, wholly.
    pub(super) fn at(&self, place: Place) -> &str {
        self.text.get(place.start..place.end).unwrap_or_default()
    }

    /// The line of a place, counted from 0.
    pub(super) fn line(&self, place: Place) -> usize {
        self.lines.partition_point(|start| *start <= place.start).saturating_sub(1)
    }

    pub(super) fn excerpt(&self, place: Place) -> Excerpt {
        let line = self.line(place);
        let start = self.lines.get(line).copied().unwrap_or_default();
        let rest = self.text.get(start..).unwrap_or_default();
        let whole = rest.split('\n').next().unwrap_or_default().trim_end_matches('\r');
        let before = whole.get(..place.start.saturating_sub(start)).unwrap_or(whole);
        let marked = whole.get(before.len()..place.end.saturating_sub(start).min(whole.len()));
        let column = before.chars().count();
        let width = marked.map_or(1, |marked| marked.chars().count()).max(1);

        let skipped =
            if whole.chars().count() > MAX_SHOWN { column.saturating_sub(MAX_SHOWN / 2) } else { 0 };
        let shown = || whole.chars().skip(skipped).take(MAX_SHOWN);
        let indent = shown().take(column - skipped).map(|c| if c == '\t' { '\t' } else { ' ' });
        let width = width.min(MAX_SHOWN.saturating_sub(column - skipped)).max(1);
        Excerpt {
            line: line + 1,
            column: column + 1,
            text: visible(&shown().collect::<String>()),
            marks: indent.chain(std::iter::repeat_n('^', width)).collect(),
        }
    }
}

/// A file's text cannot move the cursor of the terminal that shows it.
pub(super) fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// Reads the file; beside it what is wrong with the file itself.
pub(super) fn read(file: &Path) -> Result<(Source, Option<String>), Unread> {
    // Asked before it is opened: opening a pipe waits for a writer.
    if !std::fs::metadata(file).map_err(Unread::Failed)?.is_file() {
        return Err(Unread::Refused("it is not a regular file".into()));
    }
    let open = File::open(file).map_err(Unread::Failed)?;
    let mode = open.metadata().map_err(Unread::Failed)?.permissions().mode();
    let mut bytes = Vec::new();
    open.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(Unread::Failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Unread::Refused("it is larger than 1 MiB".into()));
    }
    // Who can write here decides which code the host runs, because the pins stand here.
    let writable = (mode & 0o022 != 0).then(|| {
        let mode = mode & 0o7777;
        format!("others than its owner may write to it (mode {mode:04o}), and it says which plugins run: chmod go-w")
    });
    match String::from_utf8(bytes) {
        Ok(text) => Ok((Source::new(file, text), writable)),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            Err(Unread::NotText(Source::new(file, text), Place { start: at, end: at }))
        }
    }
}

/// Why there is no text to look at.
pub(super) enum Unread {
    Failed(io::Error),
    Refused(String),
    NotText(Source, Place),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(text: &str, start: usize, end: usize) -> (usize, usize, String) {
        let excerpt = Source::new(Path::new("c.toml"), text.into()).excerpt(Place { start, end });
        (excerpt.line, excerpt.column, excerpt.marks)
    }

    #[test]
    fn lines_and_columns_count_from_one_and_in_characters() {
        assert_eq!(marked("a = 1\nb = 2\n", 0, 1), (1, 1, "^".into()));
        assert_eq!(marked("a = 1\nb = 2\n", 10, 11), (2, 5, "    ^".into()));
        assert_eq!(marked("é = \"x\"", 5, 8), (1, 5, "    ^^^".into()));
        assert_eq!(marked("\ta = true\r\n", 5, 9), (1, 6, "\t    ^^^^".into()));
        assert_eq!(marked("", 0, 0), (1, 1, "^".into()), "an empty file");
        assert_eq!(marked("a = 1\n", 6, 6), (2, 1, "^".into()), "its end");
        assert_eq!(marked("a = [\n 1,\n]", 4, 11), (1, 5, "    ^".into()), "the first line of several");
    }

    #[test]
    fn a_long_line_is_shown_around_the_caret() {
        let text = format!("a = \"{}!{}\"", "x".repeat(5000), "y".repeat(5000));
        let excerpt = Source::new(Path::new("c.toml"), text).excerpt(Place { start: 5005, end: 5006 });
        assert_eq!((excerpt.column, excerpt.text.chars().count()), (5006, MAX_SHOWN));
        let caret = excerpt.marks.find('^').map(|at| &excerpt.text[at..=at]);
        assert_eq!(caret, Some("!"));
    }

    #[test]
    fn a_shown_line_cannot_steer_the_terminal() {
        let excerpt = Source::new(Path::new("c.toml"), "# \u{1b}[2J\n".into()).excerpt((0..1).into());
        assert_eq!(excerpt.text, "# \u{fffd}[2J");
    }
}
