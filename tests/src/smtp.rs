//! A real SMTP server (aiosmtpd) that keeps what it is sent, and can be at fault: `tests/smtp/server.py`.
use crate::Certificate;
use serde_json::Value;
use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr},
    process::{Child, ChildStdin, ChildStdout, Stdio},
    sync::{Mutex, PoisonError},
};
use xtask::{project, tools};

/// How the server speaks.
#[derive(Debug, Default)]
pub struct Options {
    words: Vec<String>,
}

impl Options {
    fn with(mut self, words: &[&str]) -> Self {
        self.words.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }
    fn certified(self, tls: &str, certificate: &Certificate) -> Self {
        let (chain, key) = (certificate.chain.to_string_lossy(), certificate.key.to_string_lossy());
        self.with(&["--tls", tls, "--certificate", &chain, "--key", &key])
    }
    /// TLS from the first byte.
    #[must_use]
    pub fn tls(self, certificate: &Certificate) -> Self {
        self.certified("tls", certificate)
    }
    /// STARTTLS, which must come first.
    #[must_use]
    pub fn starttls(self, certificate: &Certificate) -> Self {
        self.certified("starttls", certificate)
    }
    /// Whoever sends must prove to be `name:password`.
    #[must_use]
    pub fn account(self, account: &str) -> Self {
        self.with(&["--account", account])
    }
    /// Addresses beyond ASCII are taken.
    #[must_use]
    pub fn utf8(self) -> Self {
        self.with(&["--utf8"])
    }
    /// At fault from the start.
    #[must_use]
    pub fn fault(self, fault: &str) -> Self {
        self.with(&["--fault", fault])
    }
    /// On that port of 127.0.0.1, where one was before.
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        self.with(&["--port", &port.to_string()])
    }
    /// Starts the server.
    pub fn start(self) -> Server {
        Server::start(&self.words)
    }
}

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    talk: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    port: u16,
}

/// What a server has seen.
#[derive(Debug)]
pub struct Seen {
    /// How many connections were made.
    pub connections: u64,
    /// How many recipients were named, taken or not.
    pub recipients: u64,
    /// The commands that matter and came before TLS.
    pub in_the_clear: Vec<String>,
    /// The messages that were taken, in order.
    pub messages: Vec<Mail>,
}

/// A message as Python's own parser reads it.
#[derive(Debug, Clone)]
pub struct Mail {
    /// The sender of the envelope.
    pub from: String,
    /// The recipients of the envelope.
    pub to: Vec<String>,
    /// Names and decoded values, in order.
    pub headers: Vec<(String, String)>,
    /// What the parser complains about.
    pub defects: Vec<String>,
    /// The media types of its parts, from the outermost.
    pub parts: Vec<String>,
    /// The decoded text.
    pub text: String,
    /// The decoded HTML, if there is any.
    pub html: Option<String>,
    /// Whether it came over TLS.
    pub secure: bool,
    /// What came over the wire, without the dots of transparency.
    pub raw: String,
}

impl Mail {
    /// The value of the only header of that name.
    pub fn header(&self, name: &str) -> &str {
        let mut found = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let (_, value) = found.next().unwrap_or_else(|| panic!("no {name} in\n{}", self.raw));
        assert!(found.next().is_none(), "two {name} in\n{}", self.raw);
        value
    }

    fn read(mail: &Value) -> Self {
        let pairs = mail["headers"].as_array().into_iter().flatten();
        Self {
            from: text(&mail["from"]),
            to: texts(&mail["to"]),
            headers: pairs.map(|pair| (text(&pair[0]), text(&pair[1]))).collect(),
            defects: texts(&mail["defects"]),
            parts: texts(&mail["parts"]),
            text: text(&mail["plain"]),
            html: mail["html"].as_str().map(str::to_owned),
            secure: mail["secure"].as_bool().expect("whether it is secure"),
            raw: text(&mail["raw"]),
        }
    }
}

impl Server {
    fn start(words: &[String]) -> Self {
        let python = tools::python().expect("where Python is");
        assert!(python.is_file(), "{} is missing; `cargo xtask test` installs it", python.display());
        let mut command = project::command(python);
        command.arg("-B").arg(project::root().join("tests/smtp/server.py")).args(words);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("Python starts");
        let input = child.stdin.take().expect("its input");
        let mut output = BufReader::new(child.stdout.take().expect("its output"));
        let mut line = String::new();
        output.read_line(&mut line).expect("a line");
        let said: Value = serde_json::from_str(&line).expect("a server that listens");
        let port = said["port"].as_u64().and_then(|port| port.try_into().ok()).expect("a port");
        Self { child, talk: Mutex::new((input, output)), port }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }
    /// What it has seen so far: all that was answered to any client is in it.
    pub fn seen(&self) -> Seen {
        let said = self.ask("list");
        Seen {
            connections: said["connections"].as_u64().expect("a number"),
            recipients: said["recipients"].as_u64().expect("a number"),
            in_the_clear: texts(&said["in_the_clear"]),
            messages: said["messages"].as_array().into_iter().flatten().map(Mail::read).collect(),
        }
    }
    /// From now on, at that fault; always, or so many times. `none` is well again.
    pub fn fault(&self, name: &str, times: Option<u32>) {
        let mut line = format!("fault {name}");
        if let Some(times) = times {
            let _ = write!(line, " {times}");
        }
        self.ask(&line);
    }

    fn ask(&self, line: &str) -> Value {
        let (input, output) = &mut *self.talk.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(input, "{line}").expect("a server that listens");
        let mut answer = String::new();
        output.read_line(&mut answer).expect("a line");
        serde_json::from_str(&answer).expect("an answer")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}
