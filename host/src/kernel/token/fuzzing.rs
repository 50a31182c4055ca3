use super::{MAX_TOKEN, Ring, Time, open, sign, signed};
use countersign_plugin_api::{Claims, Token};
use std::sync::LazyLock;

const AUDIENCE: &str = "https://auth.example.org";
const PURPOSE: &str = "mfa";
const NOW: Time = Time::from_secs(1_800_000_000);

static RING: LazyLock<Ring> = LazyLock::new(|| Ring::generate(NOW));

fn opened(token: &str) -> Option<Token> {
    open(&RING, AUDIENCE, PURPOSE, token, NOW)
}

/// A token that somebody made up; one that was issued, and then changed; a payload under a right signature, as a
/// build of another time may have written it.
pub fn token(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    match kind % 3 {
        0 => {
            if let Ok(text) = std::str::from_utf8(rest) {
                assert_eq!(opened(text), None, "nobody can make up a token");
            }
        }
        1 => changed(rest),
        _ => payload(rest),
    }
}

/// Claims between line feeds, then where to change the token, and into what.
fn changed(bytes: &[u8]) {
    let Some((edit, text)) = bytes.split_first_chunk::<4>() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let mut parts = text.splitn(3, '\n').map(str::to_owned);
    let mut part = || parts.next().unwrap_or_default();
    let expires_at = Time::from_secs(NOW.secs() - 100 + u64::from(edit[3]));
    let purpose = PURPOSE.to_owned();
    let claims = Claims { purpose, subject: part(), session: part(), id: part(), expires_at };
    let Some(token) = sign(&RING, AUDIENCE, &claims, NOW) else {
        assert!(text.len() > 500, "short claims are signed");
        return;
    };
    let lives = expires_at > NOW;
    let meant = if lives { Token::Live(claims) } else { Token::Expired(claims) };
    assert_eq!(opened(&token), Some(meant), "what was signed opens");
    assert_eq!(open(&RING, AUDIENCE, "link", &token, NOW), None, "for its purpose alone");
    assert_eq!(open(&RING, "https://other.example.org", PURPOSE, &token, NOW), None, "and here alone");

    let [at, byte, how, _] = *edit;
    let at = usize::from(at) * 257 % (token.len() + 1);
    let mut other = token.clone().into_bytes();
    match how % 4 {
        0 if at < other.len() => other[at] = byte,
        1 if at < other.len() => {
            other.remove(at);
        }
        2 => other.truncate(at),
        _ => other.insert(at, byte),
    }
    if let Ok(other) = String::from_utf8(other)
        && other != token
    {
        assert_eq!(opened(&other), None, "a token has one spelling: {token} and {other}");
    }
}

fn payload(bytes: &[u8]) {
    let Some(token) = signed(&RING, PURPOSE, bytes) else { return };
    if let Some(Token::Live(claims) | Token::Expired(claims)) = opened(&token) {
        assert!(token.len() <= MAX_TOKEN && claims.purpose == PURPOSE, "what opens is meant for this");
    }
}
