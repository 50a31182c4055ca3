//! What is decided without a receiver. One that answers, and one at fault, are met through the library.
use super::*;
use countersign_plugin_api::{Time, conformance::delivery};
use serde_json::Value;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn config(table: &Value) -> Result<Config, String> {
    let config: Config = serde_json::from_value(table.clone()).map_err(|error| error.to_string())?;
    config.check().map_err(|error| error.to_string())?;
    Ok(config)
}

#[test]
fn signatures_are_those_of_the_reference_implementation() {
    let key = || Key::parse(SECRET).unwrap();
    let other = || Key::parse("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap();
    let sign = |signer: Signer| {
        signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b"{\"test\": 2432232314}")
    };
    let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    assert_eq!(sign(Signer::new(key(), None)), expected);
    let both = sign(Signer::new(other(), Some(key())));
    let (new, former) = both.split_once(' ').expect("two signatures");
    assert!(new.starts_with("v1,") && new != expected && former == expected, "{both}");
}

#[test]
fn a_table_that_could_leak_is_refused() {
    let table = |url: &str, secret: &str| json!({ "url": url, "secret": secret });
    assert!(config(&table("https://sms.example.org/hook?a=b", SECRET)).is_ok());
    assert!(config(&table("http://127.0.0.1:8080", SECRET)).is_ok());
    assert!(config(&table("http://[::1]:8080/", SECRET)).is_ok());
    for (url, part) in [
        ("http://sms.example.org/", "use https://"),
        ("http://localhost/", "127.0.0.1"),
        ("http://127.0.0.1.example.org/", "use https://"),
        ("https://user:hunter2@sms.example.org/", "no user"),
        ("ftp://sms.example.org/", "https://"),
        ("/hook", "must name a host"),
        ("https://", "must be a URL"),
        ("", "must be a URL"),
    ] {
        let said = config(&table(url, SECRET)).err().expect(url);
        assert!(said.contains(part) && !said.contains("hunter2"), "{url}: {said}");
    }
    for (secret, part) in [
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "must start with `whsec_`"),
        ("whsec_hunter2!", "base64"),
        ("whsec_aHVudGVyMg==", "24 to 64 bytes"),
    ] {
        let said = config(&table("https://sms.example.org/", secret)).err().expect(secret);
        assert!(said.contains(part) && !said.contains("hunter2"), "{secret}: {said}");
    }
    for (key, value) in [("timeout", json!("26s")), ("ca", json!("/no/such/file")), ("secrets", json!([]))] {
        let mut table = table("https://sms.example.org/", SECRET);
        table[key] = value;
        assert!(config(&table).is_err(), "{key}");
    }
}

#[test]
fn a_status_decides() {
    for status in [200, 201, 204, 299] {
        assert_eq!(judged(status), Ok(()), "{status}");
    }
    for status in [400, 401, 403, 404, 410, 413, 422, 451] {
        assert!(matches!(judged(status), Err(Undelivered::Never(_))), "{status}");
    }
    for status in [100, 199, 300, 301, 304, 308, 408, 409, 425, 429, 500, 502, 503, 599, 600, 999] {
        assert!(matches!(judged(status), Err(Undelivered::Later(_))), "{status}");
    }
}

#[test]
fn the_body_is_the_same_for_every_try() {
    let message = Message {
        id: "0a1b",
        to: "ann@example.org",
        subject: "Your code",
        text: Secret::new("918273"),
        html: None,
        expires_at: Time::EPOCH,
    };
    let read = |body: &Secret<Vec<u8>>| serde_json::from_slice::<Value>(body.expose()).unwrap();
    let first = body(&message);
    assert_eq!(read(&first)["type"], "countersign.message");
    assert_eq!(
        read(&first)["data"],
        json!({ "to": "ann@example.org", "subject": "Your code", "text": "918273", "html": null,
                "expires_at": "1970-01-01T00:00:00Z" })
    );
    assert_eq!(first.expose(), body(&message).expose());
}

#[test]
fn it_keeps_every_clause_when_nobody_is_there() {
    // A port that was free a moment ago, and that nobody listens on.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let table = json!({ "url": format!("http://{address}/"), "secret": SECRET });
    let Config { url, secret, timeout, .. } = config(&table).unwrap_or_else(|error| panic!("{error}"));
    let endpoint = Endpoint::new(url, timeout, None).unwrap();
    let webhook = Webhook { endpoint, signer: Signer::new(secret, None) };
    assert_eq!(delivery::check_all(&delivery::across(webhook)), Ok(()));
}
