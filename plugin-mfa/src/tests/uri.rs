//! What an app scans reads back as it was meant, by two readers that share no code.
use super::kernel::{ANN, Kernel, post};
use crate::{config::Mfa, enrolment};
use countersign_plugin_api::Secret;
use serde_json::json;

const HOSTILE: [&str; 24] = [
    "a+b@example.org",
    "a b@example.org",
    "100%@example.org",
    "%2F%41@example.org",
    "a:b:c@example.org",
    ":",
    "a&issuer=evil@example.org",
    "a?secret=AAAA@example.org",
    "a#b@example.org",
    "a/b/../c@example.org",
    "a\\b@example.org",
    "a=b@example.org",
    "\"quoted\"@example.org",
    "<svg onload=x>@example.org",
    "ünïcödé@exämple.org",
    "日本語@例え.jp",
    "\u{202e}gro.elpmaxe@x",
    "👩‍👩‍👧‍👦@family.example",
    "'; drop table users; --@x",
    "a;b,c$d!e*f'g(h)i@x",
    "[::1]@x",
    "a|b^c`d{e}f~g@x",
    "..",
    "user@xn--exmple-cua.org",
];

fn check(issuer: &str, account: &str) {
    let secret = enrolment::secret(&Secret::new(b"twenty bytes of key!".to_vec()));
    let uri = enrolment::uri(issuer, account, &secret);
    let (uri, secret) = (uri.expose(), secret.expose());
    assert!(uri.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'+'), "{uri}");
    let (issuer, account) = (issuer.replace(':', ""), account.replace(':', ""));

    // An authenticator's own reader. It refuses an empty account and a label whose issuer is another.
    let app = totp_rs::Totp::from_url_unchecked(uri).unwrap_or_else(|e| panic!("{uri}: {e}"));
    assert_eq!(app.issuer(), Some(issuer.as_str()), "{uri}");
    assert_eq!(app.account_name(), account, "{uri}");
    assert_eq!((app.digits(), app.step()), (6, 30));
    assert_eq!(app.secret().to_base32().trim_end_matches('='), *secret);

    // A browser's URL reader, and percent-decoding by hand.
    let url = url::Url::parse(uri).unwrap();
    assert_eq!((url.scheme(), url.host_str()), ("otpauth", Some("totp")));
    let label = url.path().strip_prefix('/').unwrap();
    let (left, right) = label.split_once(':').unwrap();
    assert_eq!((decoded(left), decoded(right)), (issuer.clone(), account));
    let query: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let expected =
        [pair("secret", secret), pair("issuer", &issuer), pair("digits", "6"), pair("period", "30")];
    assert_eq!(query, expected);
    assert_eq!(url.fragment(), None);
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let hex = [rest.next().unwrap(), rest.next().unwrap()];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap());
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn hostile_accounts_and_issuers() {
    for name in HOSTILE {
        check("Countersign", name);
        if name != ":" {
            check(name, "ann@example.org");
        }
    }
    check("Big Corp: Login & More", "ann+tag@example.org");
    check("Countersign", &"👾".repeat(200));
    check(&"界".repeat(21), &"界".repeat(266));
}

#[test]
fn a_thousand_mixed_names() {
    // Characters that mean something to a URI, a label, or somebody's decoder, in every neighbourhood.
    let alphabet: Vec<char> = "+ %:&#/?=@;,\\\"'<>|^`{}[]~.-_!$*()aZ0é日👾\u{200d}\u{a0}".chars().collect();
    let mut seed = 0x2545_f491_u32;
    let mut next = |bound: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        seed as usize % bound
    };
    for _ in 0..1_000 {
        let length = 1 + next(40);
        let name: String = (0..length).map(|_| alphabet[next(alphabet.len())]).collect();
        check("Countersign", &name);
    }
}

#[test]
fn what_no_code_could_hold_is_cut_between_characters() {
    let mut kernel = Kernel::new(Mfa::default());
    kernel.subjects.get_mut(ANN).unwrap().email = "👾".repeat(1_000);
    let session = kernel.sign_in(ANN);
    let reply = kernel.send(&post("/totp/enroll", json!({})).by(&session));
    assert_eq!(reply.status, 201, "{reply:?}");
    let app = totp_rs::Totp::from_url(reply.text("otpauth_uri")).unwrap();
    assert_eq!(app.account_name(), "👾".repeat(200));
}
