//! How far a long command is: one line of stderr, for somebody who watches, and gone when it is done.
use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
};

/// Shows nothing where nobody watches: stderr is no terminal, or the answer is for a program.
pub(super) struct Progress {
    shows: bool,
}

impl Progress {
    pub(super) fn new(json: bool) -> Self {
        Self { shows: !json && io::stderr().is_terminal() }
    }

    /// In the place of what was shown before.
    pub(super) fn show(&self, text: impl Display) {
        if self.shows {
            let _ = write!(io::stderr(), "\r\x1b[K{text}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.show("");
    }
}
