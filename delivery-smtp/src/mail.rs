//! A message as the bytes that go over the wire (RFC 5322, MIME), and its two addresses.
use countersign_plugin_api::{Message, Secret, Undelivered};
use lettre::{
    Address, Message as Mime,
    address::Envelope,
    message::{
        Body, Mailbox, MultiPart, SinglePart,
        header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue},
    },
};
use serde::{Deserialize, Deserializer, de};
use std::fmt::Write;

/// Who mails come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sender(Mailbox);

impl<'de> Deserialize<'de> for Sender {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let sender = text.parse::<Mailbox>().ok().filter(|mailbox| {
            let name = mailbox.name.as_deref().unwrap_or_default();
            let address = address(mailbox.email.as_ref());
            !name.contains(char::is_control) && address.is_some_and(|address| is_ascii(&address))
        });
        sender.map(Self).ok_or_else(|| {
            de::Error::custom(
                "must be one address in ASCII, or a name and one: \"Countersign <no-reply@example.org>\"",
            )
        })
    }
}

/// A message that is ready to be sent. It holds the code, so it is wiped.
pub(crate) struct Mail {
    pub(crate) from: Address,
    pub(crate) to: Address,
    pub(crate) bytes: Secret<Vec<u8>>,
}

pub(crate) fn is_ascii(address: &Address) -> bool {
    AsRef::<str>::as_ref(address).is_ascii()
}

/// Writes a message. What cannot be written can never be sent.
pub(crate) fn compose(sender: &Sender, message: &Message<'_>) -> Result<Mail, Undelivered> {
    let never = |why: &str| Undelivered::Never(why.into());
    if [message.id, message.subject].iter().any(|head| head.contains(char::is_control)) {
        return Err(never("its id or its subject holds a control character"));
    }
    if message.id.is_empty() || message.id.len() > 128 {
        return Err(never("its id is not from 1 to 128 bytes"));
    }
    let to = address(message.to).ok_or_else(|| never("its recipient is not one address"))?;
    let from = sender.0.email.clone();

    let envelope = Envelope::new(Some(from.clone()), vec![to.clone()]);
    let head = Mime::builder()
        .envelope(envelope.map_err(|_| never("it has no recipient"))?)
        .from(sender.0.clone())
        .to(Mailbox::new(None, to.clone()))
        .date_now()
        .message_id(Some(format!("<{}@{}>", dot_atom(message.id), from.domain())))
        .raw_header(subject(message.subject))
        // RFC 3834, section 5: no holiday notice answers it.
        .raw_header(plain_header("Auto-Submitted", "auto-generated"));
    let text = part(ContentType::TEXT_PLAIN, message.text.expose());
    let mime = match &message.html {
        None => head.singlepart(text),
        Some(html) => {
            // The last part is the one that is preferred (RFC 2046, section 5.1.4).
            let both = MultiPart::alternative().singlepart(text);
            head.multipart(both.singlepart(part(ContentType::TEXT_HTML, html.expose())))
        }
    };
    let mime = mime.map_err(|_| never("it cannot be written as a mail"))?;
    Ok(Mail { from, to, bytes: Secret::new(mime.formatted()) })
}

/// Exactly one address, of the plain kind: no quotes, no comments, no literal, no list. Quoted forms are what
/// servers disagree about, and in a disagreement a second recipient hides. A domain that is not ASCII is
/// written as DNS has it.
fn address(text: &str) -> Option<Address> {
    let (local, domain) = text.split_once('@')?;
    let is_atom = |letter: char| letter.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(letter);
    // Beyond ASCII (RFC 6531) letters and digits, so nothing invisible that turns the direction of writing.
    let is_local = |part: &str| {
        !part.is_empty()
            && part.chars().all(|letter| is_atom(letter) || !letter.is_ascii() && letter.is_alphanumeric())
    };
    if local.len() > 64 || !local.split('.').all(is_local) {
        return None;
    }
    let domain = idna::domain_to_ascii_strict(domain).ok()?;
    if !crate::server::is_host_name(&domain) || domain.parse::<std::net::IpAddr>().is_ok() {
        return None;
    }
    Address::new(local, domain).ok()
}

/// An id as the left side of a Message-ID, where not every letter may stand. Different ids stay different.
fn dot_atom(id: &str) -> String {
    id.bytes().fold(String::with_capacity(id.len()), |mut out, byte| {
        let _ = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => write!(out, "{}", char::from(byte)),
            _ => write!(out, "={byte:02x}"),
        };
        out
    })
}

fn plain_header(name: &'static str, value: &str) -> HeaderValue {
    let name = HeaderName::new_from_ascii_str(name);
    HeaderValue::dangerous_new_pre_encoded(name, value.into(), value.into())
}

/// A subject is shown as it is: what looks like an encoded word (RFC 2047) would otherwise be decoded into a text
/// that nobody wrote. So whatever is not plain, short ASCII is encoded as a whole.
fn subject(text: &str) -> HeaderValue {
    let is_plain = text.len() <= 60
        && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
        && !text.contains("=?")
        && text.trim() == text;
    if is_plain { plain_header("Subject", text) } else { plain_header("Subject", &encoded_words(text)) }
}

/// RFC 2047's "Q" encoding: a word on a line, lines of at most 76 characters with the name of the header, and no
/// character split.
fn encoded_words(text: &str) -> String {
    const ROOM: usize = 75 - "=?utf-8?q??=".len();
    let mut room = ROOM - "Subject:".len();
    let mut words = vec![String::new()];
    for letter in text.chars() {
        let mut bytes = [0; 4];
        let spelled = letter.encode_utf8(&mut bytes).bytes().fold(String::new(), |mut out, byte| {
            let _ = match byte {
                b' ' => write!(out, "_"),
                byte if byte.is_ascii_alphanumeric() => write!(out, "{}", char::from(byte)),
                byte => write!(out, "={byte:02X}"),
            };
            out
        });
        match words.last_mut() {
            Some(word) if word.len() + spelled.len() <= room => word.push_str(&spelled),
            _ => {
                words.push(spelled);
                room = ROOM;
            }
        }
    }
    words.iter().map(|word| format!("=?utf-8?q?{word}?=")).collect::<Vec<_>>().join("\r\n ")
}

/// A text as a part. Readable as it stands where mail allows it, else quoted-printable, which carries anything:
/// the bare CR and LF of a smuggled second message arrive as `=0D` and `=0A`.
fn part(kind: ContentType, text: &str) -> SinglePart {
    let text = text.replace("\r\n", "\n");
    // RFC 5322, section 2.1.1. Blanks at the end of a line do not survive every relay.
    let is_plain = |line: &str| {
        line.len() <= 998
            && line.bytes().all(|byte| byte == b'\t' || byte == b' ' || byte.is_ascii_graphic())
            && !line.ends_with([' ', '\t'])
    };
    let body = if text.split('\n').all(is_plain) {
        Body::dangerous_pre_encoded(text.replace('\n', "\r\n").into(), ContentTransferEncoding::SevenBit)
    } else {
        Body::new_with_encoding(text, ContentTransferEncoding::QuotedPrintable).unwrap_or_else(Body::new)
    };
    SinglePart::builder().header(kind).body(body)
}
