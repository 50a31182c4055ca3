//! What is wrong with a configuration file, as the user is shown it.
use super::source::{Excerpt, Place, Source, visible};
use serde::Serialize;
use std::{fmt, path::Path};

/// One problem: where, at which key, and what.
///
/// Its text has the place first, so that editors can jump to it, then the line and a caret. As JSON it is
/// `{file, line, column, key, message}`, with `null` for what a problem of the whole file does not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, as it was named.
    pub file: String,
    /// Counted from 1.
    pub line: Option<usize>,
    /// Counted from 1, in characters.
    pub column: Option<usize>,
    /// The keys that lead to the value, such as `session.idle_ttl`.
    pub key: Option<String>,
    /// What is wrong.
    pub message: String,
    #[serde(skip)]
    excerpt: Option<Excerpt>,
}

impl Problem {
    /// A problem of the file as a whole.
    pub(crate) fn of_file(file: &Path, key: Option<&str>, message: &str) -> Self {
        Self {
            file: visible(&file.display().to_string()),
            line: None,
            column: None,
            key: key.map(visible),
            message: visible(message),
            excerpt: None,
        }
    }

    /// A problem of a line, counted from 1, of a file that is not the configuration.
    pub(crate) fn in_line(file: &Path, text: &str, line: usize, message: &str) -> Self {
        let source = Source::new(file, text.to_owned());
        let start = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
        let marked = text[start..].lines().next().unwrap_or_default();
        let indent = marked.len() - marked.trim_start().len();
        Self::at(&source, (start + indent..start + marked.len()).into(), None, message)
    }

    pub(super) fn at(source: &Source, at: Place, key: Option<&str>, message: &str) -> Self {
        let excerpt = source.excerpt(at);
        Self {
            line: Some(excerpt.line),
            column: Some(excerpt.column),
            excerpt: Some(excerpt),
            ..Self::of_file(&source.file, key, message)
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        match &self.key {
            Some(key) => write!(f, ": `{key}`: {}", self.message)?,
            None => write!(f, ": {}", self.message)?,
        }
        if let Some(Excerpt { line, text, marks, .. }) = &self.excerpt {
            let gutter = line.to_string().len();
            write!(f, "\n{:gutter$} |\n{line} | {text}\n{:gutter$} | {marks}", "", "")?;
        }
        Ok(())
    }
}
impl std::error::Error for Problem {}

/// Every problem that was found, in the order of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// In the order of the file; what concerns it as a whole comes first.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }
    /// Adds one in its place.
    pub fn push(&mut self, problem: Problem) {
        let place = |problem: &Problem| (problem.line, problem.column);
        let at = self.0.partition_point(|known| place(known) <= place(&problem));
        self.0.insert(at, problem);
    }
    /// `value`, unless there is a problem.
    pub fn none_or<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}
impl Extend<Problem> for Problems {
    fn extend<I: IntoIterator<Item = Problem>>(&mut self, problems: I) {
        problems.into_iter().for_each(|problem| self.push(problem));
    }
}
impl IntoIterator for Problems {
    type Item = Problem;
    type IntoIter = std::vec::IntoIter<Problem>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            let apart = if at == 0 { "" } else { "\n\n" };
            write!(f, "{apart}{problem}")?;
        }
        Ok(())
    }
}
impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_sorted_by_place_and_are_json() {
        let source = Source::new(Path::new("c.toml"), "a = 1\nb = 2\n".into());
        let mut problems = Problems::default();
        problems.push(Problem::at(&source, (10..11).into(), Some("b"), "second"));
        problems.push(Problem::at(&source, (4..5).into(), Some("a"), "first"));
        problems.push(Problem::of_file(&source.file, None, "the whole"));
        assert_eq!(
            serde_json::to_value(&problems).expect("plain data"),
            serde_json::json!([
                {"file": "c.toml", "line": null, "column": null, "key": null, "message": "the whole"},
                {"file": "c.toml", "line": 1, "column": 5, "key": "a", "message": "first"},
                {"file": "c.toml", "line": 2, "column": 5, "key": "b", "message": "second"},
            ])
        );
        assert!(problems.clone().none_or(()).is_err());
        assert!(
            problems.to_string().starts_with("c.toml: the whole\n\nc.toml:1:5: `a`: first\n  |\n1 | a = 1")
        );
    }
}
