//! Reads tables key by key, and goes on after a problem, so that all are found.
use super::{
    nearest::nearest,
    problem::{Problem, Problems},
    source::{Place, Source},
    tree::{Entry, Node, Syntax, Value, find},
};
use std::cell::RefCell;

/// Collects the problems of one file.
pub(super) struct Reader<'a> {
    source: &'a Source,
    syntax: &'a Syntax,
    problems: RefCell<Problems>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(source: &'a Source, syntax: &'a Syntax) -> Self {
        let reader = Self { source, syntax, problems: RefCell::default() };
        for error in &syntax.errors {
            let message = format!("this is not TOML: {}", error.message);
            reader.problems.borrow_mut().push(Problem::at(source, error.at, None, &message));
        }
        reader
    }

    pub(super) fn finish(self) -> Problems {
        self.problems.into_inner()
    }

    fn add(&self, at: Place, key: &str, message: &str) {
        // What stands on a line that is not TOML was guessed.
        let line = self.source.line(at);
        if !self.syntax.errors.iter().any(|error| self.source.line(error.at) == line) {
            self.problems.borrow_mut().push(Problem::at(self.source, at, Some(key), message));
        }
    }
}

/// One table; each key that is asked for is a known one.
pub(super) struct Table<'a> {
    reader: &'a Reader<'a>,
    path: String,
    /// Its header or its key; for the whole file its beginning.
    at: Place,
    entries: &'a [Entry],
    known: Vec<&'static str>,
}

impl<'a> Table<'a> {
    pub(super) fn root(reader: &'a Reader<'a>, entries: &'a [Entry]) -> Self {
        Self { reader, path: String::new(), at: (0..0).into(), entries, known: Vec::new() }
    }

    fn entry(&mut self, key: &'static str) -> Option<&'a Entry> {
        self.known.push(key);
        find(self.entries, key)
    }
    fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }
    fn add(&self, at: Place, key: &str, message: &str) {
        self.reader.add(at, &self.path_of(key), message);
    }

    /// Where the value of a key stands, or would.
    pub(super) fn place(&self, key: &str) -> Place {
        find(self.entries, key).map_or(self.at, |entry| entry.node.at)
    }
    pub(super) fn has(&self, key: &str) -> bool {
        find(self.entries, key).is_some()
    }
    /// Says what is wrong with the value of a key that has been read.
    pub(super) fn refuse(&self, key: &str, message: &str) {
        self.add(self.place(key), key, message);
    }

    /// The value of a key; none when it is absent or wrong.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&Node) -> Result<T, String>,
    ) -> Option<T> {
        let entry = self.entry(key)?;
        parse(&entry.node).map_err(|message| self.add(entry.node.at, key, &message)).ok()
    }

    /// The value of a key that must be there; `why` is the advice when it is not.
    pub(super) fn need<T>(
        &mut self,
        key: &'static str,
        why: &str,
        parse: impl FnOnce(&Node) -> Result<T, String>,
    ) -> Option<T> {
        // A key that is not seen may stand on a line that did not parse.
        if find(self.entries, key).is_none() && self.reader.syntax.errors.is_empty() {
            self.add(self.at, key, &format!("is missing: {why}"));
        }
        self.read(key, parse)
    }

    /// The values of an array, those that are right.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        mut parse: impl FnMut(&Node) -> Result<T, String>,
    ) -> Vec<T> {
        let Some(entry) = self.entry(key) else { return Vec::new() };
        let Value::List(nodes) = &entry.node.value else {
            self.add(entry.node.at, key, &expected("an array", &entry.node));
            return Vec::new();
        };
        let mut right = |node: &Node| parse(node).map_err(|message| self.add(node.at, key, &message)).ok();
        nodes.iter().filter_map(&mut right).collect()
    }

    /// The table under a key; an empty one when it is absent or is none.
    pub(super) fn table(&mut self, key: &'static str) -> Table<'a> {
        let path = self.path_of(key);
        let entry = self.entry(key);
        let (at, entries) = match entry.map(|entry| (entry, entry.node.entries())) {
            None => (self.at, &[][..]),
            Some((entry, Some(entries))) => (entry.key_at, entries),
            Some((entry, None)) => {
                self.add(entry.node.at, key, &expected("a table", &entry.node));
                (entry.node.at, &[][..])
            }
        };
        Table { reader: self.reader, path, at, entries, known: Vec::new() }
    }

    /// The tables under a key that is written `[[key]]`.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<Table<'a>> {
        let path = self.path_of(key);
        let Some(entry) = self.entry(key) else { return Vec::new() };
        let Value::List(nodes) = &entry.node.value else {
            self.add(entry.key_at, key, &format!("write [[{path}]], once for each"));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for node in nodes {
            match node.entries() {
                Some(entries) => {
                    let (reader, path) = (self.reader, path.clone());
                    tables.push(Table { reader, path, at: node.at, entries, known: Vec::new() });
                }
                None => self.add(node.at, key, &expected("a table", node)),
            }
        }
        tables
    }

    /// Reports every key that was not asked for.
    pub(super) fn finish(self) {
        self.finish_beside(|_| false);
    }
    /// The same, but tables of other names belong to plugins.
    pub(super) fn finish_beside_tables(self) {
        self.finish_beside(|entry| entry.node.entries().is_some());
    }

    fn finish_beside(self, theirs: impl Fn(&Entry) -> bool) {
        let unknown = |entry: &&Entry| !self.known.contains(&entry.key.as_str()) && !theirs(entry);
        for entry in self.entries.iter().filter(unknown) {
            self.add(entry.key_at, &entry.key, &unknown_key(&entry.key, &self.known));
        }
    }
}

pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

pub(super) fn expected(what: &str, node: &Node) -> String {
    format!("must be {what}, and is {}", node.kind())
}

/// The sentence about a key that nobody knows.
pub(super) fn unknown_key(key: &str, known: &[&str]) -> String {
    if let Some(meant) = nearest(key, known.iter().copied()) {
        return format!("is not a known key; did you mean `{meant}`?");
    }
    let mut known = known.to_vec();
    known.sort_unstable();
    let known: Vec<String> = known.iter().map(|key| format!("`{key}`")).collect();
    match known.as_slice() {
        [] => "is not a known key; there are none here".into(),
        [one] => format!("is not a known key; the only one here is {one}"),
        [all @ .., last] => format!("is not a known key; here are {} and {last}", all.join(", ")),
    }
}
