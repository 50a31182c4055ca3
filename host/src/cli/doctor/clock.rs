//! The machine's clock: codes of apps are compared with it, 30 seconds either way.
use super::{Finding, problem, warning};
use std::process::{Command, Stdio};

/// Whether something keeps the clock right; `None` when nobody here knows.
///
/// The kernel knows (`adjtimex`), and `timedatectl` asks it, whichever program sets the clock. Where systemd does not
/// run, chrony is asked.
pub(super) fn synchronised() -> Option<bool> {
    said("timedatectl", &["show", "--property=NTPSynchronized", "--value"])
        .and_then(|text| timedatectl(&text))
        .or_else(|| said("chronyc", &["-n", "tracking"]).and_then(|text| chronyc(&text)))
}

fn said(program: &str, words: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    let output = command.args(words).env("LC_ALL", "C").stdin(Stdio::null()).stderr(Stdio::null()).output();
    let output = output.ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

fn timedatectl(text: &str) -> Option<bool> {
    match text.trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

fn chronyc(text: &str) -> Option<bool> {
    let line = text.lines().find_map(|line| line.strip_prefix("Leap status"))?;
    Some(line.trim_start_matches([' ', ':']).trim() != "Not synchronised")
}

pub(super) fn findings(synchronised: Option<bool>) -> Option<Finding> {
    match synchronised {
        Some(true) => None,
        Some(false) => Some(problem(
            "clock",
            "no time server keeps this machine's clock right: when it is half a minute off, no code of an app is taken",
            "run `timedatectl set-ntp true`, or install chrony, and look with `timedatectl`",
        )),
        None => Some(warning(
            "clock",
            "nobody here knows whether a time server keeps the clock right (neither timedatectl nor chronyc answers)",
            "in a container the clock is its machine's: run `timedatectl` there",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Level, tests::assert_found},
        *,
    };

    #[test]
    fn what_the_tools_say_is_understood() {
        assert_eq!(
            [timedatectl("yes\n"), timedatectl("no\n"), timedatectl("")],
            [Some(true), Some(false), None]
        );
        let tracking =
            |leap| format!("Reference ID    : C0A80101\nStratum         : 3\nLeap status     : {leap}\n");
        assert_eq!(chronyc(&tracking("Normal")), Some(true));
        assert_eq!(chronyc(&tracking("Not synchronised")), Some(false));
        assert_eq!(chronyc("506 Cannot talk to daemon\n"), None);
    }

    #[test]
    fn a_clock_that_nobody_keeps_is_a_problem_and_one_that_nobody_knows_a_warning() {
        for (known, expected) in [
            (Some(true), None),
            (Some(false), Some((Level::Problem, "clock", "no code of an app is taken"))),
            (None, Some((Level::Warning, "clock", "nobody here knows"))),
        ] {
            assert_found(&format!("{known:?}"), findings(known).as_slice(), expected.as_slice());
        }
    }
}
