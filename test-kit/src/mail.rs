//! Captured mail: an SMTP server for this test alone (RFC 5321, as much of it as a host speaks to a relay on
//! loopback), and messages taken apart.
use std::{
    io::{self, BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// A mail that has not come after so long does not come.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was mailed by the host of a test. The server ends with the process.
#[derive(Debug)]
pub struct Mailbox {
    address: SocketAddr,
    held: Arc<Held>,
}

#[derive(Debug, Default)]
struct Held {
    mails: Mutex<Vec<Mail>>,
    came: Condvar,
}

impl Held {
    fn mails(&self) -> MutexGuard<'_, Vec<Mail>> {
        self.mails.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The recipient of the envelope.
    pub to: String,
    /// The subject, decoded.
    pub subject: String,
    /// The part of type `text/plain`, decoded.
    pub text: String,
    /// The part of type `text/html`, decoded, if there is one.
    pub html: Option<String>,
    /// What came over the wire, without the dots of transparency.
    pub raw: String,
}

impl Mail {
    /// The code that the mail is for: six digits alone on a line.
    ///
    /// # Panics
    /// When there is none, or more than one.
    #[track_caller]
    pub fn code(&self) -> &str {
        let is_code = |line: &&str| line.len() == 6 && line.bytes().all(|byte| byte.is_ascii_digit());
        self.only("code", self.text.lines().map(str::trim).filter(is_code).collect())
    }
    /// The token of the link that the mail is for.
    ///
    /// # Panics
    /// When there is none, or more than one.
    #[track_caller]
    pub fn token(&self) -> &str {
        let is_token = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let tokens = self.text.split("token=").skip(1);
        let tokens = tokens.map(|rest| rest.split(|c| !is_token(c)).next().unwrap_or_default());
        self.only("token", tokens.collect())
    }

    #[track_caller]
    fn only<'m>(&self, what: &str, found: Vec<&'m str>) -> &'m str {
        assert!(found.len() == 1, "one {what} should be in the mail {:?}:\n{}", self.subject, self.text);
        found[0]
    }

    fn read(to: String, raw: String) -> Self {
        let (head, _) = parted(&raw);
        let part = |kind: &str| find_part(&raw, kind);
        Self {
            subject: field(head, "subject").map(|value| decoded_words(&value)).unwrap_or_default(),
            text: part("text/plain").unwrap_or_default(),
            html: part("text/html"),
            to,
            raw,
        }
    }
}

impl Mailbox {
    /// One on a free port of loopback.
    ///
    /// # Panics
    /// When there is no port.
    pub fn open() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("its address");
        let held = Arc::new(Held::default());
        let own = held.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let held = own.clone();
                // A host that is killed drops its connections in the middle.
                thread::spawn(move || _ = converse(&stream, &held));
            }
        });
        Self { address, held }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
    /// What lies in it, in the order in which it came. Nothing is taken out.
    pub fn mails(&self) -> Vec<Mail> {
        self.held.mails().clone()
    }
    /// Waits until there are so many mails that are meant, and answers them. Nothing is taken out.
    ///
    /// # Panics
    /// When they do not come within half a minute, or there are more.
    #[track_caller]
    pub fn wait_for(&self, count: usize, is_meant: impl Fn(&Mail) -> bool) -> Vec<Mail> {
        let found = self.when(|mails| {
            let meant: Vec<Mail> = mails.iter().filter(|mail| is_meant(mail)).cloned().collect();
            (meant.len() >= count).then_some(meant)
        });
        assert_eq!(found.len(), count, "more mails than that: {found:?}");
        found
    }
    /// Takes the oldest mail to `email` out, and waits for one if there is none yet.
    ///
    /// # Panics
    /// When none comes within half a minute.
    #[track_caller]
    pub fn take(&self, email: &str) -> Mail {
        self.take_where(email, |_| true)
    }
    /// Takes the oldest mail to `email` that `is_meant` out, and waits for one if there is none yet.
    ///
    /// # Panics
    /// When none comes within half a minute.
    #[track_caller]
    pub fn take_where(&self, email: &str, is_meant: impl Fn(&Mail) -> bool) -> Mail {
        self.when(|mails| {
            let at = mails.iter().position(|mail| mail.to == email && is_meant(mail))?;
            Some(mails.remove(at))
        })
    }

    /// What `look` finds, once it finds something.
    #[track_caller]
    fn when<T>(&self, mut look: impl FnMut(&mut Vec<Mail>) -> Option<T>) -> T {
        let give_up = Instant::now() + PATIENCE;
        let mut mails = self.held.mails();
        loop {
            if let Some(found) = look(&mut mails) {
                return found;
            }
            let left = give_up.saturating_duration_since(Instant::now());
            let there: Vec<_> = mails.iter().map(|mail| (&mail.to, &mail.subject)).collect();
            assert!(!left.is_zero(), "a mail did not come; there are {there:?}");
            mails = self.held.came.wait_timeout(mails, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Takes messages until the client is gone.
fn converse(stream: &TcpStream, held: &Held) -> io::Result<()> {
    let mut say = stream;
    let mut hear = BufReader::new(stream);
    let mut to = String::new();
    say.write_all(b"220 test ESMTP\r\n")?;
    loop {
        let mut line = String::new();
        if hear.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let line = line.trim_end();
        let answer = match line.get(..4).unwrap_or_default().to_ascii_uppercase().as_str() {
            "EHLO" => "250-test\r\n250-8BITMIME\r\n250 SMTPUTF8",
            "RCPT" => {
                line.split(['<', '>']).nth(1).unwrap_or_default().clone_into(&mut to);
                "250 OK"
            }
            "DATA" => {
                say.write_all(b"354 go on\r\n")?;
                let raw = message(&mut hear)?;
                held.mails().push(Mail::read(to.clone(), raw));
                held.came.notify_all();
                "250 taken"
            }
            "QUIT" => "221 bye",
            "HELO" | "MAIL" | "RSET" | "NOOP" => "250 OK",
            _ => "502 not here",
        };
        say.write_all(format!("{answer}\r\n").as_bytes())?;
    }
}

/// A message up to the line with a dot (RFC 5321 section 4.5.2).
fn message(from: &mut impl BufRead) -> io::Result<String> {
    let mut raw = Vec::new();
    loop {
        let mut line = Vec::new();
        if from.read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.as_slice() {
            b".\r\n" => return Ok(String::from_utf8_lossy(&raw).into_owned()),
            [b'.', rest @ ..] => raw.extend_from_slice(rest),
            line => raw.extend_from_slice(line),
        }
    }
}

/// The head of an entity, and its body.
fn parted(entity: &str) -> (&str, &str) {
    entity.split_once("\r\n\r\n").unwrap_or((entity, ""))
}

/// The value of a header field, unfolded.
fn field(head: &str, name: &str) -> Option<String> {
    let unfolded = head.replace("\r\n ", " ").replace("\r\n\t", " ");
    let mut fields = unfolded.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
}

/// The first part of that media type, decoded (RFC 2046 section 5.1).
fn find_part(entity: &str, kind: &str) -> Option<String> {
    let (head, body) = parted(entity);
    let media = field(head, "content-type").unwrap_or_else(|| "text/plain".into());
    if media.to_ascii_lowercase().starts_with("multipart/") {
        let boundary = media.split_once("boundary=")?.1.split(';').next()?.trim_matches('"').to_owned();
        let delimiter = format!("\r\n--{boundary}");
        // Even the first delimiter begins with a line's end, which may be that of the head.
        let body = format!("\r\n{body}");
        return body.split(&delimiter).skip(1).find_map(|part| find_part(part.strip_prefix("\r\n")?, kind));
    }
    if !media.to_ascii_lowercase().starts_with(kind) {
        return None;
    }
    let encoding = field(head, "content-transfer-encoding").unwrap_or_default();
    let text = if encoding.eq_ignore_ascii_case("quoted-printable") {
        quoted_printable(&body.replace("=\r\n", ""))
    } else {
        body.to_owned()
    };
    Some(text.replace("\r\n", "\n"))
}

/// RFC 2045 section 6.7, soft line breaks gone.
fn quoted_printable(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('=') {
        bytes.extend_from_slice(before.as_bytes());
        match after.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(b'=');
                rest = after;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// RFC 2047's words in the "Q" encoding; white space between two of them is none.
fn decoded_words(value: &str) -> String {
    let word = |text: &str| {
        let inner = text.strip_prefix("=?utf-8?q?")?.strip_suffix("?=")?;
        Some(quoted_printable(&inner.replace('_', " ")))
    };
    match value.split_ascii_whitespace().map(word).collect::<Option<Vec<_>>>() {
        Some(words) => words.concat(),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(mailbox: &Mailbox, to: &str, message: &str) {
        let mut stream = TcpStream::connect(mailbox.address()).expect("a connection");
        let mut hear = BufReader::new(stream.try_clone().expect("the same one"));
        let mut say = |line: &str, expected: &str| {
            stream.write_all(format!("{line}\r\n").as_bytes()).expect("it listens");
            let mut answer = String::new();
            while answer.is_empty() || answer.as_bytes().get(3) == Some(&b'-') {
                answer.clear();
                hear.read_line(&mut answer).expect("an answer");
            }
            assert!(answer.starts_with(expected), "{line}: {answer}");
        };
        say("", "220");
        say("EHLO me", "502");
        for (line, expected) in [
            ("NOOP", "250"),
            ("MAIL FROM:<a@example.org>", "250"),
            (&*format!("RCPT TO:<{to}>"), "250"),
            ("DATA", "250"),
        ] {
            say(line, expected);
        }
        say(&format!("{}\r\n.", message.replace('\n', "\r\n")), "354");
        say("QUIT", "250");
    }

    #[test]
    fn messages_are_captured_and_taken_apart() {
        let mailbox = Mailbox::open();
        let both = "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\n =?utf-8?q?_an_alle?=\n\
                    Content-Type: multipart/alternative;\n boundary=\"x\"\n\n--x\n\
                    Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n\
                    Gr=C3=BC=\n=C3=9Fe\n..123\n123456\nhttps://a/b?token=3Dv1.k.p-_\n--x\n\
                    Content-Type: text/html\nContent-Transfer-Encoding: 7bit\n\n<p>123456</p>\n--x--";
        send(&mailbox, "ann@example.org", both);
        send(&mailbox, "bob@example.org", "Subject: plain\n\nhello");
        let bob = mailbox.take("bob@example.org");
        assert_eq!((&*bob.subject, &*bob.text, &bob.html), ("plain", "hello\n", &None));
        assert_eq!(mailbox.mails().len(), 1);
        let ann = mailbox.take_where("ann@example.org", |mail| mail.html.is_some());
        assert_eq!(ann.subject, "Grüße an alle");
        assert_eq!(ann.text, "Grüße\n.123\n123456\nhttps://a/b?token=v1.k.p-_");
        assert_eq!(ann.html.as_deref(), Some("<p>123456</p>"));
        assert_eq!((ann.code(), ann.token()), ("123456", "v1.k.p-_"));
        assert_eq!(mailbox.mails(), []);
    }
}
