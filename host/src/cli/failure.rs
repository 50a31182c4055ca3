//! Why a command did not do what it was asked: sentences, and the exit status.
use crate::{
    config::{Problem, Problems},
    kernel::StartError,
};
use serde_json::{Value, json};
use std::{fmt, process::ExitCode};

/// Something went wrong while doing it.
const FAILED: u8 = 1;
/// It was asked wrongly, or the configuration is wrong.
const WRONG: u8 = 2;

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    status: u8,
    problems: Vec<Said>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    /// At a place of the configuration.
    Placed(Problem),
    /// What the kernel says; it names its place itself.
    Refused(String),
    Plain(String),
}

impl Failure {
    /// It could not be done.
    pub(super) fn new(why: impl fmt::Display) -> Self {
        Self { status: FAILED, problems: vec![Said::Plain(why.to_string())] }
    }
    /// It was asked wrongly.
    pub(super) fn usage(why: impl fmt::Display) -> Self {
        Self { status: WRONG, ..Self::new(why) }
    }
    /// Several things could not be done.
    pub(super) fn all(problems: Vec<Problem>) -> Self {
        Self { status: FAILED, problems: problems.into_iter().map(Said::Placed).collect() }
    }
    /// With what else is wrong.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.problems.extend(other.problems);
        self
    }

    pub(super) fn exit(&self) -> ExitCode {
        self.status.into()
    }

    /// As `--json` prints it: `{"errors":[{"message":…}]}`; a problem of the configuration has its place too.
    pub(super) fn json(&self) -> Value {
        let one = |said: &Said| match said {
            Said::Placed(problem) => json!(problem),
            Said::Refused(text) | Said::Plain(text) => json!({ "message": text }),
        };
        json!({ "errors": self.problems.iter().map(one).collect::<Vec<_>>() })
    }
}

/// A place comes first on its line, so that editors can jump to it.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, said) in self.problems.iter().enumerate() {
            let apart = if at == 0 { "" } else { "\n\n" };
            match said {
                Said::Placed(problem) => write!(f, "{apart}{problem}")?,
                Said::Refused(text) => write!(f, "{apart}{text}")?,
                Said::Plain(text) => write!(f, "{apart}error: {text}")?,
            }
        }
        Ok(())
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self { status: WRONG, ..Self::all(problems.into_iter().collect()) }
    }
}
impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::all(vec![problem])
    }
}
impl From<StartError> for Failure {
    fn from(StartError(problems): StartError) -> Self {
        Self { status: WRONG, problems: problems.into_iter().map(Said::Refused).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_said_in_text_and_in_json() {
        let failure = Failure::from(StartError(vec!["a.toml:1:2: first".into(), "second".into()]));
        let failure = failure.and(Failure::new("third"));
        assert_eq!(failure.to_string(), "a.toml:1:2: first\n\nsecond\n\nerror: third");
        let errors = json!([{"message": "a.toml:1:2: first"}, {"message": "second"}, {"message": "third"}]);
        assert_eq!(failure.json(), json!({ "errors": errors }));
        assert_eq!((failure.status, Failure::new("x").status, Failure::usage("x").status), (2, 1, 2));
    }
}
