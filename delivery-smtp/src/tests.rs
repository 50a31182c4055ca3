//! Tables as the host hands them over, and messages as they go out.
use crate::{
    Config,
    mail::{Mail, Sender, compose},
    relay::Relay,
};
use countersign_plugin_api::{Delivery, Message, Plugin, Secret, Time, Undelivered, conformance::delivery};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn read(table: &Value) -> Result<Config, String> {
    let config: Config = serde_json::from_value(table.clone()).map_err(|error| error.to_string())?;
    config.check().map_err(|error| error.to_string())?;
    Ok(config)
}

fn message<'a>(to: &'a str, subject: &'a str, text: &'a str) -> Message<'a> {
    let text = Secret::new(text);
    Message { id: "m-1", to, subject, text, html: None, expires_at: Time::NEVER }
}

fn sender() -> Sender {
    serde_json::from_value(json!("Countersign <no-reply@example.org>")).unwrap()
}

fn written(message: &Message<'_>) -> String {
    let mail = compose(&sender(), message).expect("a message");
    String::from_utf8(mail.bytes.expose().clone()).expect("ASCII")
}

/// The names of the headers of a mail or of a part.
fn headers(mail: &str) -> Vec<&str> {
    let (head, _) = mail.split_once("\r\n\r\n").expect("a head and a body");
    let starts = head.split("\r\n").filter(|line| !line.starts_with([' ', '\t']));
    starts.map(|line| line.split_once(": ").expect("a header").0).collect()
}

#[test]
fn a_table_needs_a_relay_and_a_sender() {
    let config = read(&json!({ "url": "smtps://mail.example.org", "from": "a@example.org" })).ok().unwrap();
    assert_eq!((config.connect_timeout.as_secs(), config.timeout.as_secs()), (10, 30));
    assert!(config.username.is_none() && config.ca.is_none() && config.hello.is_none());
}

#[test]
fn the_reference_shows_the_defaults() {
    let reference = include_str!("../../docs/configuration.toml");
    let shown = |key: &str| -> Value {
        let value = reference.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        serde_json::from_str(value).unwrap_or_default()
    };
    let mut table = json!({ "url": "smtps://mail.example.org", "from": "a@example.org" });
    let own = read(&table).ok().unwrap();
    table["connect_timeout"] = shown("connect_timeout = ");
    table["timeout"] = shown("timeout = ");
    let told = read(&table).ok().unwrap();
    assert_eq!((told.connect_timeout, told.timeout), (own.connect_timeout, own.timeout));
}

#[test]
fn what_is_wrong_in_a_table_is_told() {
    let good = json!({ "url": "smtps://mail.example.org", "from": "Auth <a@example.org>" });
    for (key, value, part) in [
        ("url", json!("smtp://mail.example.org"), "loopback"),
        ("url", json!(null), "invalid type"),
        ("from", json!("nobody"), "one address"),
        ("from", json!("a@example.org, b@example.org"), "one address"),
        ("from", json!("A\r\nBcc: x@example.org <a@example.org>"), "one address"),
        ("from", json!("ä@example.org"), "one address"),
        ("username", json!("me"), "belong together"),
        ("password", json!("secret"), "belong together"),
        ("timeout", json!("31s"), "from \"1s\" to \"30s\""),
        ("timeout", json!("0s"), "from \"1s\" to \"30s\""),
        ("timeout", json!("5s"), "a part"),
        ("connect_timeout", json!("11s"), "from \"1s\" to \"10s\""),
        ("hello", json!("a b"), "host name"),
        ("hello", json!("a\r\nMAIL FROM:<>"), "host name"),
        ("ca", json!("/nowhere/ca.pem"), "/nowhere/ca.pem"),
        ("ca", json!("/dev/null"), "no certificate"),
        ("tls", json!(false), "unknown field `tls`"),
    ] {
        let mut table = good.clone();
        table[key] = value.clone();
        let error = read(&table).err().unwrap_or_else(|| panic!("{key} = {value} is accepted"));
        assert!(error.contains(part) && !error.contains("secret"), "{key} = {value}: {error}");
    }
    let plain = json!({ "url": "smtp://127.0.0.1", "from": "a@example.org", "ca": "/dev/null" });
    assert!(read(&plain).err().unwrap().contains("is for smtps://"));
    assert!(read(&json!({ "url": "smtps://mail.example.org" })).err().unwrap().contains("`from`"));
}

#[test]
fn a_message_has_the_headers_of_a_machine() {
    let mail = written(&message("ada@example.net", "Your code", "Your code is\n\n123456\n"));
    let names: BTreeSet<&str> = headers(&mail).into_iter().collect();
    let expected = [
        "Auto-Submitted",
        "Content-Transfer-Encoding",
        "Content-Type",
        "Date",
        "From",
        "MIME-Version",
        "Message-ID",
        "Subject",
        "To",
    ];
    assert_eq!(names, expected.into_iter().collect());
    for line in [
        "From: Countersign <no-reply@example.org>",
        "To: ada@example.net",
        "Subject: Your code",
        "Message-ID: <m-1@example.org>",
        "Auto-Submitted: auto-generated",
        "123456",
    ] {
        assert!(mail.split("\r\n").any(|found| found == line), "{line} is not in\n{mail}");
    }
}

#[test]
fn html_comes_after_the_text() {
    let html = "<p>Your code is <b>123456</b></p>";
    let mail =
        written(&Message { html: Some(Secret::new(html)), ..message("ada@example.net", "Code", "123456") });
    let at = |part: &str| mail.find(part).unwrap_or_else(|| panic!("{part} is not in\n{mail}"));
    assert!(at("multipart/alternative") < at("text/plain") && at("text/plain") < at("text/html"));
    assert!(mail.contains(html));
}

/// The Message-ID is the same for every try, and different for different ids, whatever stands in them.
#[test]
fn ids_become_message_ids() {
    let id_of = |id: &str| {
        let mail = written(&Message { id, ..message("ada@example.net", "Code", "123456") });
        let line = mail.split("\r\n").find_map(|line| line.strip_prefix("Message-ID: "));
        line.expect("a Message-ID").to_owned()
    };
    let ids = ["a", "A", "a.b", "a=2eb", "a b", "<a@b>", "é", "…"];
    let written: BTreeSet<String> = ids.iter().map(|id| id_of(id)).collect();
    assert_eq!(written.len(), ids.len());
    for id in written {
        let inner =
            id.strip_prefix('<').and_then(|id| id.strip_suffix("@example.org>")).expect("<…@example.org>");
        assert!(inner.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_=".contains(&byte)), "{inner}");
    }
    assert_eq!(id_of("m-1"), id_of("m-1"));
    for id in [String::new(), "x".repeat(129)] {
        let sent = compose(&sender(), &Message { id: &id, ..message("ada@example.net", "Code", "123456") });
        assert!(matches!(sent, Err(Undelivered::Never(_))));
    }
}

#[test]
fn one_plain_address_or_none() {
    let sent =
        |to: &str| compose(&sender(), &message(to, "Code", "123456")).map(|Mail { to, .. }| to.to_string());
    for (to, written) in [
        ("ada@example.net", "ada@example.net"),
        ("a.b+c_d@sub.example.net", "a.b+c_d@sub.example.net"),
        ("-o'q/x=y@example.net", "-o'q/x=y@example.net"),
        ("grüße@example.net", "grüße@example.net"),
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
        ("ada@EXAMPLE.net", "ada@example.net"),
        ("ada@localhost", "ada@localhost"),
    ] {
        assert_eq!(sent(to), Ok(written.to_owned()), "{to}");
    }
    for to in [
        "",
        "@",
        "ada",
        "ada@",
        "@example.net",
        "a@b@example.net",
        "a@example.net,b@example.net",
        "a@example.net b@example.net",
        "a b@example.net",
        " ada@example.net",
        "ada@example.net ",
        "<ada@example.net>",
        "Ada <ada@example.net>",
        "\"a\"@example.net",
        "\"a@x\"@example.net",
        "a(b)@example.net",
        "a;b@example.net",
        "ada@example.net>",
        "a>@example.net",
        "a\\b@example.net",
        ".a@example.net",
        "a..b@example.net",
        "a.@example.net",
        "ada@[127.0.0.1]",
        "ada@127.0.0.1",
        "ada@example..net",
        "ada@-example.net",
        "ada@exam_ple.net",
        "ada@example.net\r\nRCPT TO:<b@example.net>",
        "ada\0@example.net",
        "\u{202e}ada@example.net",
        "a\u{a0}b@example.net",
    ] {
        let outcome = sent(to);
        let Err(Undelivered::Never(reason)) = outcome else { panic!("{to:?}: {outcome:?}") };
        assert!(!reason.contains("123456"));
    }
    assert!(matches!(sent(&format!("{}@example.net", "a".repeat(65))), Err(Undelivered::Never(_))));
}

#[test]
fn a_subject_is_one_header_and_reads_as_it_was_given() {
    let long = "one word after another ".repeat(40);
    let subjects = [
        "",
        " ",
        "Your code",
        "trailing ",
        "=?utf-8?q?Bcc:=20x=40example.net?=",
        "a =?utf-8?b?eA==?= b",
        "Grüße \u{1f511}",
        "Bcc: x@example.net",
        &long,
        &"x".repeat(3000),
        &"\u{1f511}".repeat(300),
    ];
    for subject in subjects {
        let mail = written(&message("ada@example.net", subject, "123456"));
        assert_eq!(headers(&mail).len(), 9, "{mail}");
        assert!(mail.split("\r\n").all(|line| line.len() <= 76), "{mail}");
        assert_eq!(shown(&mail), subject);
    }
    for control in ["a\r\nBcc: x@example.net", "a\rb", "a\nb", "a\0b", "a\u{b}b", "a\u{7f}", "a\u{85}b"] {
        let outcome = compose(&sender(), &message("ada@example.net", control, "123456"));
        assert!(matches!(outcome, Err(Undelivered::Never(_))), "{control:?}");
    }
}

/// The subject as a reader of mail shows it (RFC 2047).
fn shown(mail: &str) -> String {
    let mut lines = mail.split("\r\n").skip_while(|line| !line.starts_with("Subject: "));
    let first = &lines.next().expect("a subject")["Subject: ".len()..];
    let folded = lines.take_while(|line| line.starts_with(' ')).map(str::trim_start);
    let words: Vec<&str> = std::iter::once(first).chain(folded).collect();
    if !first.starts_with("=?") {
        return words.concat();
    }
    let mut bytes = Vec::new();
    for word in words {
        let word = word.strip_prefix("=?utf-8?q?").and_then(|word| word.strip_suffix("?=")).expect("a word");
        let mut rest = word;
        while let Some(letter) = rest.chars().next() {
            let (byte, used) = match letter {
                '=' => (u8::from_str_radix(&rest[1..3], 16).expect("hexadecimal"), 3),
                '_' => (b' ', 1),
                plain => (u8::try_from(plain).expect("ASCII"), 1),
            };
            bytes.push(byte);
            rest = &rest[used..];
        }
    }
    String::from_utf8(bytes).expect("whole characters")
}

/// Whatever a text holds, what goes out is lines of ASCII that end in CRLF: no bare CR or LF in which a relay could
/// see the end of the message and a second one after it.
#[test]
fn no_text_ends_the_message() {
    let long = format!("https://example.org/?token={}", "x".repeat(900));
    for (text, readable) in [
        ("Your code is\n\n123456\n", true),
        (".\n..\n", true),
        ("tab\there", true),
        (&long, true),
        ("\r\n.\r\nMAIL FROM:<x@example.net>\r\n", true),
        ("\n.\r\nMAIL", true),
        ("\r.\r", false),
        ("a\r.\r\nb", false),
        ("\r\r\n\n.\n\r", false),
        ("nul \0 esc \u{1b}[2J", false),
        ("ends in blanks  \nhere", false),
        ("Grüße, \u{2028}", false),
        (&"x".repeat(2000), false),
    ] {
        let mail = written(&message("ada@example.net", "Code", text));
        let encoding = if readable { "7bit" } else { "quoted-printable" };
        assert!(mail.contains(&format!("Content-Transfer-Encoding: {encoding}\r\n")), "{text:?}:\n{mail}");
        assert!(!mail.replace("\r\n", "").contains(['\r', '\n', '\0', '\u{1b}']), "{text:?}:\n{mail}");
        assert!(mail.split("\r\n").all(|line| line.len() <= 998 && line.is_ascii()), "{text:?}");
        assert_eq!(headers(&mail).len(), 9);
    }
}

#[test]
fn without_a_relay_every_clause_holds() {
    // Nothing listens on the discard port of an address that is nobody's.
    let table = json!({ "url": "smtp://127.255.83.84:9", "from": "a@example.org" });
    let relay = Relay::new(read(&table).ok().unwrap()).unwrap();
    let outcome = relay.send(&message("ada@example.net", "Code", "123456"));
    assert_eq!(outcome, Err(Undelivered::Later("127.255.83.84:9: connection refused".into())));
    assert_eq!(delivery::check_all(&delivery::across(relay)), Ok(()));
}
