//! The pages that are read by people, as text.
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};
use xtask::{project::root, site};

/// A fenced block.
#[derive(Debug)]
pub struct Block {
    /// What follows the fence.
    pub info: String,
    /// What stands in it.
    pub text: String,
}

/// The fenced blocks of a page, in their order.
pub fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in page.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(info), None) => open = Some(Block { info: info.into(), text: String::new() }),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.text.extend([line, "\n"]),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a fence is not closed");
    blocks
}

/// What links may name behind a `#`: the headings of a page, spelled as forges spell them.
pub fn anchors(page: &str) -> BTreeSet<String> {
    let text = page.split("```").step_by(2);
    let headings = text.flat_map(str::lines).filter(|line| line.starts_with('#'));
    headings.map(|line| site::anchor(line.trim_start_matches('#'))).collect()
}

/// Every page, relative to the root.
pub fn pages() -> Vec<PathBuf> {
    let markdown = |dir: &str| {
        let entries = fs::read_dir(root().join(dir)).expect("a folder");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let pages = paths.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
        pages.map(|path| path.strip_prefix(root()).expect("below the root").to_owned()).collect::<Vec<_>>()
    };
    let mut pages: Vec<PathBuf> = ["", "docs", "docs/adr"].into_iter().flat_map(markdown).collect();
    pages.sort();
    assert!(pages.contains(&"README.md".into()) && pages.len() > 10, "{pages:?}");
    pages
}

/// A file of the project, by its path from the root.
#[track_caller]
pub fn read(file: impl AsRef<Path>) -> String {
    let file = file.as_ref();
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
