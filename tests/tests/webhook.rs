//! The example that posts webhooks: through its library as a host opens it, and through a host, against receivers that
//! answer and receivers at fault.
use countersign_host::kernel::Candidate;
use countersign_plugin_api::{
    Delivery, Message, Secret, Time, Undelivered,
    conformance::delivery::{check_all, messages_arrive_once_and_whole, silence_is_given_up},
    kernel::LogSink,
};
use countersign_tests::{
    Site, api, example,
    receiver::{Manner, Posted, Receiver, SECRET, verify},
};
use serde_json::{Value, json};
use std::{
    path::Path,
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};
use toml_edit::{Item, Table, value};

/// What the plugin registers with that table.
fn open(table: &Value) -> Arc<dyn Delivery> {
    let library = example("delivery-webhook");
    let loaded = Candidate::read(&library, None).expect("a sound library").open().expect("a plugin");
    let sink = LogSink::new(|_, _, _| ());
    let mut collected = loaded.register(&table.to_string(), Path::new("/"), sink).expect("it registers");
    let (name, delivery) = collected.deliveries.pop().expect("a delivery");
    assert_eq!(name, "webhook");
    delivery
}

fn to(receiver: &Receiver, timeout: &str) -> Arc<dyn Delivery> {
    let url = format!("http://{}/hook?of=countersign", receiver.address());
    open(&json!({ "url": url, "secret": SECRET, "timeout": timeout }))
}

fn message(id: &str) -> Message<'_> {
    Message {
        id,
        to: "ann@example.org",
        subject: "Your code",
        text: Secret::new("Your code is\n\n918273\n"),
        html: Some(Secret::new("<b>918273</b>")),
        expires_at: Time::from_secs(1_800_000_000),
    }
}

fn is_later(outcome: &Result<(), Undelivered>) -> bool {
    matches!(outcome, Err(Undelivered::Later(reason)) if !reason.contains("918273"))
}

#[test]
fn a_message_is_posted_signed_and_whole() {
    let receiver = Receiver::start([]);
    assert_eq!(to(&receiver, "20s").send(&message("m-1")), Ok(()));
    let [posted] = &receiver.posted()[..] else { panic!("{:?}", receiver.posted()) };
    assert_eq!((posted.line.as_str(), posted.verdict), ("POST /hook?of=countersign", Ok(())));
    assert_eq!(posted.header("webhook-id"), "m-1");
    assert_eq!(posted.header("content-type"), "application/json");
    let data = json!({ "to": "ann@example.org", "subject": "Your code", "text": "Your code is\n\n918273\n",
                       "html": "<b>918273</b>", "expires_at": "2027-01-15T08:00:00Z" });
    assert_eq!(posted.json(), json!({ "type": "countersign.message", "data": data }));
}

#[test]
fn nothing_of_a_request_can_be_changed_or_used_late() {
    let receiver = Receiver::start([]);
    assert_eq!(to(&receiver, "20s").send(&message("m-1")), Ok(()));
    let posted = receiver.posted().remove(0);
    let sent: u64 = posted.header("webhook-timestamp").parse().expect("a number");
    let judge = |secret: &str, at: u64, change: &dyn Fn(&mut Posted)| {
        let mut posted = posted.clone();
        change(&mut posted);
        verify(secret, at, &posted.headers, &posted.body)
    };
    assert_eq!(judge(SECRET, sent, &|_| ()), Ok(()));
    assert!(judge(SECRET, sent + 301, &|_| ()).is_err());
    assert!(judge("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", sent, &|_| ()).is_err());
    assert!(judge(SECRET, sent, &|posted| posted.body[20] ^= 1).is_err());
    assert!(judge(SECRET, sent, &|posted| posted.body.push(b' ')).is_err());
    for (header, other) in [("webhook-id", "m-2"), ("webhook-timestamp", &(sent + 1).to_string())] {
        let change = |posted: &mut Posted| drop(posted.headers.insert(header.into(), other.into()));
        assert!(judge(SECRET, sent, &change).is_err(), "{header}");
    }
}

#[test]
fn it_keeps_every_clause() {
    let receiver = Receiver::start([]);
    let delivery = to(&receiver, "20s");
    assert_eq!(check_all(&delivery), Ok(()));
    let texts = |id: &str| {
        let of = receiver.posted().into_iter().filter(|posted| posted.header("webhook-id") == id);
        of.map(|posted| posted.json()["data"]["text"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(messages_arrive_once_and_whole(&delivery, &texts), Ok(()));
    assert!(receiver.posted().iter().all(|posted| posted.verdict == Ok(())));
    let silent = Receiver::start([Manner::Silence]);
    assert_eq!(silence_is_given_up(&to(&silent, "1s")), Ok(()));
}

#[test]
fn every_fault_of_a_receiver_ends_in_an_answer() {
    let elsewhere = Receiver::start([]);
    let redirect = Manner::Redirect(format!("http://{}/", elsewhere.address()));
    for manner in [
        Manner::HangUp,
        Manner::Silence,
        Manner::Drip,
        Manner::EndlessHead,
        redirect,
        Manner::Answer(408),
        Manner::Answer(429),
        Manner::Answer(500),
        Manner::Answer(503),
    ] {
        let receiver = Receiver::start([manner.clone()]);
        let delivery = to(&receiver, "2s");
        let start = Instant::now();
        let outcome = delivery.send(&message("m-1"));
        assert!(is_later(&outcome), "{manner:?}: {outcome:?}");
        assert!(start.elapsed() < Duration::from_secs(28), "{manner:?}: {:?}", start.elapsed());
        // The next try is the same message.
        assert_eq!(delivery.send(&message("m-1")), Ok(()), "{manner:?}");
        let posted = receiver.posted();
        assert_eq!(posted.len(), 2, "{manner:?}");
        assert_eq!(posted[0].header("webhook-id"), posted[1].header("webhook-id"));
        assert_eq!(posted[0].body, posted[1].body);
    }
    assert_eq!(elsewhere.posted().len(), 0, "a redirect was followed");
    let refusing = Receiver::start([Manner::Answer(410)]);
    assert!(matches!(to(&refusing, "20s").send(&message("m-1")), Err(Undelivered::Never(_))));
    // What the receiver has to say beside the status is nobody's concern.
    let talking = Receiver::start([Manner::EndlessBody]);
    assert_eq!(to(&talking, "20s").send(&message("m-1")), Ok(()));
    // Nobody there, and somebody who speaks no TLS.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let nobody = open(&json!({ "url": format!("http://{free}/"), "secret": SECRET }));
    assert!(is_later(&nobody.send(&message("m-1"))));
}

/// A site whose messages go to that receiver.
fn site(receiver: &Receiver) -> Site {
    let site = Site::with_store("sqlite").with_variable("WEBHOOK_SECRET", SECRET);
    let installed = site.command(&["plugin", "install"]).arg(example("delivery-webhook")).output();
    assert!(installed.expect("the binary starts").status.success());
    site.edit(|config| {
        let mut webhook = Table::new();
        webhook["url"] = value(format!("http://{}/hook", receiver.address()));
        webhook["secret"]["env"] = value("WEBHOOK_SECRET");
        let mut delivery = Table::new();
        delivery["use"] = value("webhook");
        delivery["webhook"] = Item::Table(webhook);
        config["delivery"] = Item::Table(delivery);
    });
    site
}

#[test]
fn a_host_tries_again_under_the_same_id() {
    let receiver = Receiver::start([Manner::Answer(503)]);
    let host = site(&receiver).start();
    let mut browser = host.browser();
    let account = json!({ "email": "ann@example.org", "password": "correct horse battery staple" });
    assert_eq!(browser.post(&api("/register"), &account).expect("an answer").status, 201);
    let forgotten = json!({ "email": "ann@example.org" });
    assert_eq!(browser.post(&api("/password/reset"), &forgotten).expect("an answer").status, 202);

    let give_up = Instant::now() + Duration::from_mins(2);
    while receiver.posted().len() < 2 {
        assert!(Instant::now() < give_up, "{:?}\n{}", receiver.posted(), host.log());
        sleep(Duration::from_millis(50));
    }
    let posted = receiver.posted();
    assert_eq!(posted[0].header("webhook-id"), posted[1].header("webhook-id"));
    assert_eq!(posted[0].body, posted[1].body);
    assert!(posted.iter().all(|posted| posted.verdict == Ok(())), "{posted:?}");
    assert_eq!(posted[0].json()["data"]["to"], "ann@example.org");
    let text = posted[0].json()["data"]["text"].as_str().expect("a text").to_owned();
    assert!(text.contains("token="), "{text}");
    assert!(!host.log().contains("token=") && !host.log().contains("whsec_"), "{}", host.log());
    assert!(host.log().contains("the receiver answers 503"), "{}", host.log());
    host.stop();
    assert_eq!(receiver.posted().len(), 2, "what was taken is not sent again");
}
