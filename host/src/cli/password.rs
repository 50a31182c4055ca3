//! A password from a terminal, without showing it, or from stdin.
use super::Failure;
use countersign_plugin_api::Secret;
use rustix::termios::{LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcsetattr};
use std::io::{self, BufRead, Read, Stdin, Write};
use zeroize::Zeroize;

/// More than the longest password, so that one that is too long is refused as such.
const MAX_BYTES: u64 = 4 << 10;

/// All of stdin, but a line break at its end.
pub(super) fn from_stdin(input: impl Read) -> Result<Secret<String>, Failure> {
    let mut bytes = Vec::new();
    let read = input.take(MAX_BYTES + 1).read_to_end(&mut bytes);
    let taken = String::from_utf8(bytes).map_err(|error| error.into_bytes().zeroize());
    read.map_err(|error| Failure::new(format_args!("stdin: {error}")))?;
    let text = Secret::new(taken.map_err(|()| Failure::usage("the password on stdin is not UTF-8"))?);
    if text.expose().len() as u64 > MAX_BYTES {
        return Err(Failure::usage("stdin holds more than a password"));
    }
    let line = text.expose().strip_suffix('\n').unwrap_or(text.expose());
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(Failure::usage("stdin holds no password"));
    }
    Ok(Secret::new(line.to_owned()))
}

/// Asks twice.
pub(super) fn from_terminal() -> Result<Secret<String>, Failure> {
    let stdin = io::stdin();
    if !isatty(&stdin) {
        return Err(Failure::usage(
            "stdin is no terminal to ask for a password on: add --password-stdin to read it from there",
        ));
    }
    let failed = |error: io::Error| Failure::new(format_args!("the terminal: {error}"));
    let quiet = Quiet::new(&stdin).map_err(failed)?;
    let first = quiet.ask("Password: ").map_err(failed)?;
    let second = quiet.ask("Once more: ").map_err(failed)?;
    drop(quiet);
    if first.expose() != second.expose() {
        return Err(Failure::usage("the two passwords differ"));
    }
    Ok(first)
}

/// A terminal that does not show what is typed, until this is dropped.
struct Quiet<'a> {
    stdin: &'a Stdin,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn new(stdin: &'a Stdin) -> io::Result<Self> {
        let before = tcgetattr(stdin)?;
        let mut quiet = before.clone();
        quiet.local_modes -= LocalModes::ECHO;
        quiet.local_modes |= LocalModes::ECHONL;
        tcsetattr(stdin, OptionalActions::Flush, &quiet)?;
        Ok(Self { stdin, before })
    }
    fn ask(&self, prompt: &str) -> io::Result<Secret<String>> {
        let mut stderr = io::stderr();
        write!(stderr, "{prompt}")?;
        stderr.flush()?;
        let mut line = String::new();
        self.stdin.lock().take(MAX_BYTES).read_line(&mut line)?;
        let line = Secret::new(line);
        Ok(Secret::new(line.expose().trim_end_matches(['\r', '\n']).to_owned()))
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // There is nobody to tell, and a shell puts its terminal right.
        let _ = tcsetattr(self.stdin, OptionalActions::Flush, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_stdin_is_the_password_but_its_last_line_break() {
        let read = |text: &[u8]| from_stdin(text).map(|password| password.expose().clone()).ok();
        for (text, password) in [
            ("secret", Some("secret")),
            ("secret\n", Some("secret")),
            ("secret\r\n", Some("secret")),
            (" two words \n", Some(" two words ")),
            ("a\nb\n\n", Some("a\nb\n")),
            ("", None),
            ("\n", None),
        ] {
            assert_eq!(read(text.as_bytes()).as_deref(), password, "{text:?}");
        }
        assert_eq!(read(b"\xff"), None);
        assert_eq!(read(&vec![b'x'; 4096]).map(|text| text.len()), Some(4096));
        assert_eq!(read(&vec![b'x'; 4097]), None);
    }
}
