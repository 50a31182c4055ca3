//! The deliveries through their real libraries, as a host opens them, against a real SMTP server.
use countersign_host::kernel::Candidate;
use countersign_plugin_api::{
    Delivery, Message, Secret, Time, Undelivered,
    conformance::delivery::{
        breaking_off_is_unknown, check_all, messages_arrive_once_and_whole, silence_is_given_up,
    },
    kernel::{Collected, LoadError, LogSink},
};
use countersign_tests::{
    Artifacts, Authority,
    smtp::{Mail, Options, Server},
};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

const SECRET: &str = "918273";
const PASSWORD: &str = "correct-horse";

/// What the plugin registers with that table.
fn register(plugin: &str, table: &Value, development: bool) -> Result<Collected, LoadError> {
    let library = Artifacts::get().plugin(plugin);
    let loaded = Candidate::read(&library, None).expect("a sound library").open().expect("a plugin");
    let sink = LogSink::new(|_, _, _| ());
    loaded.in_development(development).register(&table.to_string(), Path::new("/"), sink)
}

/// The SMTP delivery to `url`, with what `more` says.
fn smtp(url: &str, more: &Value) -> Arc<dyn Delivery> {
    let mut table = json!({ "url": url, "from": "Countersign <no-reply@example.org>" });
    for (key, value) in more.as_object().into_iter().flatten() {
        table[key] = value.clone();
    }
    let mut collected = register("delivery-smtp", &table, false).expect("it registers");
    let (name, delivery) = collected.deliveries.pop().expect("a delivery");
    assert_eq!(name, "smtp");
    delivery
}

/// The same to a server without TLS.
fn plain(address: SocketAddr) -> Arc<dyn Delivery> {
    smtp(&format!("smtp://{address}"), &json!({}))
}

/// The same with little patience.
fn hasty(address: SocketAddr) -> Arc<dyn Delivery> {
    smtp(&format!("smtp://{address}"), &json!({ "connect_timeout": "1s", "timeout": "1s" }))
}

fn message(id: &str) -> Message<'_> {
    Message {
        id,
        to: "ada@example.net",
        subject: "Your code",
        text: Secret::new("Your code is\n\n918273\n"),
        html: None,
        expires_at: Time::NEVER,
    }
}

/// Sends, and ends whatever the server does: a slow one would take hours.
fn send(delivery: &Arc<dyn Delivery>, message: &Message<'_>) -> Result<(), Undelivered> {
    let start = Instant::now();
    let outcome = delivery.send(message);
    assert!(start.elapsed() < Duration::from_secs(45), "it took {:?}", start.elapsed());
    if let Err(Undelivered::Later(reason) | Undelivered::Never(reason) | Undelivered::Unknown(reason)) =
        &outcome
    {
        assert!(!reason.contains(SECRET) && !reason.contains(PASSWORD), "{reason}");
    }
    outcome
}

#[track_caller]
fn later(outcome: Result<(), Undelivered>, part: &str) {
    let Err(Undelivered::Later(reason)) = &outcome else { panic!("{outcome:?}") };
    assert!(reason.contains(part), "{reason}");
}
#[track_caller]
fn never(outcome: Result<(), Undelivered>, part: &str) {
    let Err(Undelivered::Never(reason)) = &outcome else { panic!("{outcome:?}") };
    assert!(reason.contains(part), "{reason}");
}

#[track_caller]
fn unknown(outcome: Result<(), Undelivered>, part: &str) {
    let Err(Undelivered::Unknown(reason)) = &outcome else { panic!("{outcome:?}") };
    assert!(reason.contains(part), "{reason}");
}

fn ids(messages: &[Mail]) -> Vec<&str> {
    messages.iter().map(|mail| mail.header("Message-ID")).collect()
}

#[test]
fn a_mail_is_what_another_parser_reads() {
    let server = Options::default().start();
    let html = "<p>Your code is <b>918273</b></p>";
    let sent = Message { html: Some(Secret::new(html)), subject: "Grüße", ..message("m-1") };
    assert_eq!(send(&plain(server.address()), &sent), Ok(()));
    let seen = server.seen();
    assert_eq!((seen.messages.len(), seen.recipients), (1, 1));
    let mail = &seen.messages[0];
    assert_eq!(
        (mail.from.as_str(), mail.to.as_slice()),
        ("no-reply@example.org", &["ada@example.net".into()][..])
    );
    for (name, value) in [
        ("From", "Countersign <no-reply@example.org>"),
        ("To", "ada@example.net"),
        ("Subject", "Grüße"),
        ("Message-ID", "<m-1@example.org>"),
        ("Auto-Submitted", "auto-generated"),
        ("MIME-Version", "1.0"),
    ] {
        assert_eq!(mail.header(name), value);
    }
    assert!(mail.header("Date").ends_with("+0000"), "{}", mail.header("Date"));
    assert_eq!(mail.parts, ["multipart/alternative", "text/plain", "text/html"]);
    assert!(mail.text.lines().any(|line| line == SECRET), "{:?}", mail.text);
    assert_eq!(mail.html.as_deref().map(str::trim_end), Some(html));
    assert_eq!(mail.defects, Vec::<String>::new());
}

#[test]
fn tls_is_spoken_before_anything_else() {
    let authority = Authority::new();
    let certificate = authority.certificate("localhost");
    let ca = json!({ "ca": authority.file() });
    for (scheme, options) in [
        ("smtps", Options::default().tls(&certificate)),
        ("smtp+starttls", Options::default().starttls(&certificate)),
    ] {
        let server = options.start();
        let delivery = smtp(&format!("{scheme}://localhost:{}", server.address().port()), &ca);
        assert_eq!(send(&delivery, &message("m-1")), Ok(()), "{scheme}");
        assert_eq!(send(&delivery, &message("m-2")), Ok(()), "{scheme}");
        let seen = server.seen();
        assert!(seen.messages.iter().all(|mail| mail.secure) && seen.in_the_clear.is_empty(), "{seen:?}");
        assert_eq!((seen.messages.len(), seen.connections), (2, 1), "{scheme}");
    }
}

#[test]
fn a_wrong_certificate_is_told_and_nothing_is_sent() {
    let (ours, another) = (Authority::new(), Authority::new());
    for (certificate, why) in [
        (ours.expired("localhost"), "has expired"),
        (ours.certificate("mail.example.org"), "is for another name"),
        (another.certificate("localhost"), "no authority that is trusted here"),
    ] {
        for (scheme, options) in [
            ("smtps", Options::default().tls(&certificate)),
            ("smtp+starttls", Options::default().starttls(&certificate)),
        ] {
            let server = options.start();
            let url = format!("{scheme}://localhost:{}", server.address().port());
            later(send(&smtp(&url, &json!({ "ca": ours.file() })), &message("m-1")), why);
            let seen = server.seen();
            assert_eq!(
                (seen.recipients, seen.messages.len(), seen.in_the_clear.len()),
                (0, 0, 0),
                "{scheme}"
            );
        }
    }
}

/// Without `ca` it is the machine's authorities that are trusted, among whom ours is not.
#[test]
fn the_machines_authorities_are_the_usual_ones() {
    let authority = Authority::new();
    let server = Options::default().tls(&authority.certificate("localhost")).start();
    let delivery = smtp(&format!("smtps://localhost:{}", server.address().port()), &json!({}));
    later(send(&delivery, &message("m-1")), "no authority that is trusted here");
}

#[test]
fn there_is_no_falling_back_from_tls() {
    let authority = Authority::new();
    let ca = json!({ "ca": authority.file(), "username": "countersign", "password": PASSWORD });
    let server = Options::default().start();
    let port = server.address().port();
    later(send(&smtp(&format!("smtp+starttls://localhost:{port}"), &ca), &message("m-1")), "no STARTTLS");
    later(send(&smtp(&format!("smtps://localhost:{port}"), &ca), &message("m-1")), "not TLS");
    let seen = server.seen();
    assert_eq!((seen.recipients, seen.messages.len(), seen.in_the_clear.len()), (0, 0, 0));
}

/// A client that keeps what came in the clear behind the reply to STARTTLS would say "sent" for what never was.
#[test]
fn what_is_injected_before_tls_is_not_heard_under_it() {
    let authority = Authority::new();
    let certificate = authority.certificate("localhost");
    let server = Options::default().starttls(&certificate).fault("inject").start();
    let url = format!("smtp+starttls://localhost:{}", server.address().port());
    later(send(&smtp(&url, &json!({ "ca": authority.file() })), &message("m-1")), "not TLS");
    assert_eq!(server.seen().in_the_clear, Vec::<String>::new());
}

#[test]
fn a_relay_asks_who_we_are() {
    let server = Options::default().account(&format!("countersign:{PASSWORD}")).start();
    let url = format!("smtp://{}", server.address());
    let known = |password: &str| smtp(&url, &json!({ "username": "countersign", "password": password }));
    assert_eq!(send(&known(PASSWORD), &message("m-1")), Ok(()));
    // The server's reply repeats the password; an operator can mend it, so it is not final.
    let wrong = known(&format!("{PASSWORD}-not"));
    later(send(&wrong, &message("m-2")), "AUTH: it answers 535 5.7.8");
    // Nobody at all is refused at the message, finally.
    never(send(&plain(server.address()), &message("m-3")), "MAIL: it answers 530");
    assert_eq!(ids(&server.seen().messages), ["<m-1@example.org>"]);

    let open = Options::default().start();
    let delivery = smtp(
        &format!("smtp://{}", open.address()),
        &json!({ "username": "countersign", "password": PASSWORD }),
    );
    later(send(&delivery, &message("m-1")), "neither PLAIN nor LOGIN");
}

#[test]
fn connections_are_used_again() {
    let server = Options::default().start();
    let delivery = plain(server.address());
    for number in 0..5 {
        assert_eq!(send(&delivery, &message(&format!("m-{number}"))), Ok(()));
    }
    let seen = server.seen();
    assert_eq!((seen.connections, seen.messages.len()), (1, 5));
    // One that has died in the meantime is replaced.
    let port = server.address().port();
    drop(server);
    let server = Options::default().port(port).start();
    assert_eq!(send(&delivery, &message("m-5")), Ok(()));
    assert_eq!(ids(&server.seen().messages), ["<m-5@example.org>"]);
}

#[test]
fn a_server_that_is_gone_or_slow_is_tried_later() {
    let gone = Options::default().start();
    let delivery = plain(gone.address());
    drop(gone);
    later(send(&delivery, &message("m-1")), "connection refused");
    for (fault, why) in [
        ("unreachable", "no connection in time"),
        ("silent", "no end within 1s"),
        ("trickle", "no end within 1s"),
        ("trickle-later", "no end within 1s"),
        // As many bytes as it likes, and not one of them kept beyond a bound.
        ("flood", "EHLO: "),
        ("nonsense", "EHLO: "),
    ] {
        let server = Options::default().fault(fault).start();
        later(send(&hasty(server.address()), &message("m-1")), why);
    }
}

#[test]
fn four_hundreds_are_for_now_and_five_hundreds_for_good() {
    let server = Options::default().start();
    let delivery = plain(server.address());
    for (fault, why) in [
        ("greylist", "RCPT: it answers 451 4.7.1"),
        ("greylist-data", "the message: it answers 451 4.3.0"),
        ("unavailable", "MAIL: it answers 421 4.3.2"),
    ] {
        server.fault(fault, Some(1));
        let before = server.seen().messages.len();
        let id = format!("m-{fault}");
        later(send(&delivery, &message(&id)), why);
        assert_eq!(server.seen().messages.len(), before, "{fault}");
        assert_eq!(send(&delivery, &message(&id)), Ok(()), "{fault}");
        let seen = server.seen();
        assert_eq!(seen.messages.len(), before + 1, "{fault}");
        assert_eq!(seen.messages[before].header("Message-ID"), format!("<{id}@example.org>"));
    }
    for (fault, why) in [
        ("refuse", "RCPT: it answers 550 5.1.1"),
        ("refuse-sender", "MAIL: it answers 550 5.7.1"),
        // The reply repeats the message.
        ("refuse-data", "the message: it answers 554 5.6.0"),
    ] {
        server.fault(fault, Some(1));
        never(send(&delivery, &message("m-1")), why);
    }
    assert_eq!(server.seen().messages.len(), 3);
}

/// Whether it was taken nobody knows: one server has it, the other has not, and both have heard all of it.
#[test]
fn what_may_have_been_taken_is_unknown() {
    let server = Options::default().start();
    let delivery = hasty(server.address());
    for (fault, why, taken) in [
        ("drop-after-taking", "the message: ", 1),
        ("drop-after-data", "the message: ", 0),
        ("misplaced", "the message: it answers 354, which is no answer to it", 0),
        ("hang-after-taking", "no end within 1s", 1),
    ] {
        server.fault(fault, Some(1));
        let before = server.seen().messages.len();
        unknown(send(&delivery, &message("m-1")), why);
        assert_eq!(server.seen().messages.len(), before + taken, "{fault}");
        assert_eq!(send(&delivery, &message("m-2")), Ok(()), "the next one is none the worse");
    }
}

/// On a connection that was left in the middle, the reply that came too late would be the next message's.
#[test]
fn a_late_reply_is_nobody_elses() {
    let server = Options::default().start();
    let limits = json!({ "connect_timeout": "5s", "timeout": "5s" });
    let delivery = smtp(&format!("smtp://{}", server.address()), &limits);
    assert_eq!(send(&delivery, &message("m-1")), Ok(()));
    server.fault("hang-after-taking", Some(1));
    unknown(send(&delivery, &message("m-2")), "no end within 5s");
    server.fault("refuse", None);
    never(send(&delivery, &message("m-3")), "RCPT: it answers 550");
    assert_eq!(server.seen().connections, 2);
}

#[test]
fn addresses_beyond_ascii_need_a_relay_that_takes_them() {
    let sent = Message { to: "grüße@example.net", ..message("m-1") };
    let server = Options::default().utf8().start();
    assert_eq!(send(&plain(server.address()), &sent), Ok(()));
    assert_eq!(server.seen().messages[0].to, ["grüße@example.net"]);
    let server = Options::default().start();
    never(send(&plain(server.address()), &sent), "no addresses beyond ASCII");
    // A domain has a form that every relay takes.
    let sent = Message { to: "ada@bücher.example", ..message("m-2") };
    assert_eq!(send(&plain(server.address()), &sent), Ok(()));
    assert_eq!(server.seen().messages[0].to, ["ada@xn--bcher-kva.example"]);
}

#[test]
fn hostile_heads_change_no_header_and_no_recipient() {
    let endings = [
        "\r\n",
        "\n",
        "\r",
        "\0",
        "\r\n\r\n",
        "\r\n.\r\n",
        "%0d%0a",
        "\\r\\n",
        "\u{85}",
        "\u{2028}",
        "\u{b}",
    ];
    let tails = ["Bcc: eve@example.com", "RCPT TO:<eve@example.com>", "To: eve@example.com", "DATA", " x"];
    let words =
        ["=?utf-8?q?=0D=0ABcc:_eve=40example.com?=", "=?utf-8?b?DQpCY2M6IGV2ZUBleGFtcGxlLmNvbQ==?=", "=?x?="];
    let mut heads: Vec<String> = Vec::new();
    for tail in tails {
        heads.extend(endings.iter().map(|ending| format!("{ending}{tail}")));
    }
    for word in words {
        heads.extend([word.to_owned(), format!("é {word}"), format!("{word} {word}"), word.repeat(20)]);
    }
    let recipients = [",", ";", " ", ">,<", "\t", "%", "> NOTIFY=NEVER RCPT TO:<"]
        .map(|by| format!("{by}eve@example.com"));

    let server = Options::default().start();
    let delivery = plain(server.address());
    let mut taken: Vec<(String, String)> = Vec::new();
    let mut tried = 0;
    let mut attempt = |to: &str, subject: &str| {
        tried += 1;
        let id = format!("m-{tried}");
        match send(&delivery, &Message { to, subject, ..message(&id) }) {
            Ok(()) => taken.push((to.to_owned(), subject.to_owned())),
            outcome => never(outcome, ""),
        }
    };
    for head in &heads {
        attempt("ada@example.net", &format!("Hello{head}"));
        attempt(&format!("ada@example.net{head}"), "Hello");
    }
    for recipient in &recipients {
        attempt(&format!("ada@example.net{recipient}"), "Hello");
        attempt(&format!("ada{recipient}@example.net"), "Hello");
    }
    assert!(tried >= 100 && taken.len() > 20, "{tried} tried, {} taken", taken.len());

    let seen = server.seen();
    assert_eq!(usize::try_from(seen.recipients), Ok(taken.len()));
    assert_eq!(seen.messages.len(), taken.len());
    for (mail, (to, subject)) in seen.messages.iter().zip(&taken) {
        assert_eq!(
            (mail.to.as_slice(), mail.headers.len()),
            (&[to.clone()][..], 9),
            "{subject:?}\n{}",
            mail.raw
        );
        assert_eq!(mail.header("Subject"), subject, "{}", mail.raw);
        assert!(mail.text.lines().any(|line| line == SECRET), "{}", mail.raw);
    }
}

#[test]
fn smtp_keeps_every_clause() {
    let server = Options::default().start();
    let delivery = plain(server.address());
    assert_eq!(check_all(&delivery), Ok(()));
    let received = |id: &str| {
        let id = format!("<{id}@example.org>");
        let messages = server.seen().messages.into_iter().filter(|mail| mail.header("Message-ID") == id);
        messages.map(|mail| mail.text).collect()
    };
    assert_eq!(messages_arrive_once_and_whole(&delivery, &received), Ok(()));
    server.fault("drop-after-taking", Some(1));
    assert_eq!(breaking_off_is_unknown(&delivery, &received), Ok(()));
    server.fault("silent", None);
    assert_eq!(silence_is_given_up(&hasty(server.address())), Ok(()));
}

#[test]
fn log_is_for_development_alone() {
    let Err(LoadError::Config(refusal)) = register("delivery-log", &json!({}), false) else {
        panic!("it registers in a host that is not for development");
    };
    assert!(refusal.message.contains("--dev"), "{refusal:?}");
    let collected = register("delivery-log", &json!({}), true).expect("it registers");
    let (name, delivery) = &collected.deliveries[0];
    assert_eq!(name, "log");
    assert_eq!(check_all(delivery), Ok(()));
}

/// The server is asked what it has seen on one pipe, whoever sends meanwhile.
#[test]
fn the_server_of_these_tests_counts_what_it_is_told() {
    let server: Server = Options::default().fault("greylist").start();
    server.fault("refuse", Some(2));
    let delivery = plain(server.address());
    for _ in 0..2 {
        never(send(&delivery, &message("m-1")), "550");
    }
    assert_eq!(send(&delivery, &message("m-1")), Ok(()));
    let seen = server.seen();
    assert_eq!((seen.recipients, seen.messages.len(), seen.in_the_clear.len()), (3, 1, 3));
}
