//! Pages for people: a thin front over the API.
//!
//! ```text
//! GET  ─→ who looks? ─→ admitted ─→ readings: GET routes of the API ─→ template ─→ HTML
//!              └─→ to the page that comes first, and back by `next`
//! POST ─→ form ─→ JSON ─→ one route of the API ─→ done: on to the next page (303)
//!                                      └─→ refused: the page again, with the problem in words
//! ```
//!
//! A page is data: its `file` says where it stands, who sees it, what it reads and where its forms go, and has
//! the template. What it reads and posts goes through the API in this process, with the cookies and the address
//! of the request, so nothing is decided twice and no check is passed by. Plugins bring pages in the same form,
//! and operators replace templates and texts.
//!
//! # Modules
//!
//! `file` a page's file · `table` all of them · `replace` an operator's own · `rehearsal` tries them · `texts`
//! what they say · `template` what templates can do · `look` style, script, logo · `flow` who goes where · `form`
//! what was posted · `serve` the way above · `alone` pages that stand at no path.
mod alone;
mod file;
mod flow;
mod form;
mod look;
mod rehearsal;
mod replace;
mod serve;
mod table;
mod template;
mod texts;

pub(crate) use alone::for_people;
pub(crate) use flow::{CHALLENGE, ENROL, LOGIN, location};
pub(crate) use serve::answer;
pub(crate) use table::{Offered, Pages, Setting};

use crate::config::{Problems, folder::tell};
use std::{fmt, path::Path};

/// What is wrong with a file of pages or texts, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    file: String,
    line: usize,
    why: String,
}

impl Fault {
    fn new(file: &str, line: usize, why: &str) -> Self {
        Self { file: file.into(), line, why: why.into() }
    }
}

impl Fault {
    /// As a problem of the file, when it is one that an operator wrote.
    fn of(&self, path: &Path, problems: &mut Problems) {
        tell(problems, path, &self.why, Some(self.line));
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.why)
    }
}
