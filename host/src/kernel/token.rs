//! Signed handles: `v1.<kid>.<payload>.<mac>`, HMAC-SHA-256 under a key for each purpose.
use super::keys::{Ring, Role};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_plugin_api::{Claims, Time, Token};
use hmac::Mac;
use serde::{Deserialize, Serialize};

#[cfg(any(fuzzing, test))]
pub(super) mod fuzzing;

/// Longer than any token that was ever issued.
const MAX_TOKEN: usize = 1024;

#[derive(Serialize, Deserialize)]
struct Payload<'a> {
    purpose: &'a str,
    audience: &'a str,
    subject: &'a str,
    session: &'a str,
    id: &'a str,
    issued_at: u64,
    expires_at: u64,
}

/// Signs a token; `None` when the ring has no key for it or a claim is too long.
pub(super) fn sign(ring: &Ring, audience: &str, claims: &Claims, now: Time) -> Option<String> {
    let payload = postcard::to_stdvec(&Payload {
        purpose: &claims.purpose,
        audience,
        subject: &claims.subject,
        session: &claims.session,
        id: &claims.id,
        issued_at: now.secs(),
        expires_at: claims.expires_at.secs(),
    })
    .ok()?;
    signed(ring, &claims.purpose, &payload).filter(|token| token.len() <= MAX_TOKEN)
}

fn signed(ring: &Ring, purpose: &str, payload: &[u8]) -> Option<String> {
    let key = ring.active(Role::Token)?;
    let mut token = format!("v1.{}.{}", key.kid_text(), URL_SAFE_NO_PAD.encode(payload));
    let mut mac = key.signer(purpose);
    mac.update(token.as_bytes());
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(mac.finalize().into_bytes(), &mut token);
    Some(token)
}

/// Opens a token of that purpose and audience. The signature is over the text itself, so there is one
/// spelling of each token only.
pub(super) fn open(ring: &Ring, audience: &str, purpose: &str, token: &str, now: Time) -> Option<Token> {
    if token.len() > MAX_TOKEN {
        return None;
    }
    let (signed, tag) = token.rsplit_once('.')?;
    let (kid, payload) = signed.strip_prefix("v1.")?.split_once('.')?;
    let mut mac =
        ring.keys().iter().find(|key| key.role() == Role::Token && key.is_called(kid))?.signer(purpose);
    mac.update(signed.as_bytes());
    mac.verify_slice(&URL_SAFE_NO_PAD.decode(tag).ok()?).ok()?;
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let payload: Payload<'_> = postcard::from_bytes(&payload).ok()?;
    if payload.purpose != purpose || payload.audience != audience {
        return None;
    }
    let claims = Claims {
        purpose: purpose.into(),
        subject: payload.subject.into(),
        session: payload.session.into(),
        id: payload.id.into(),
        expires_at: Time::from_secs(payload.expires_at),
    };
    Some(if claims.expires_at <= now { Token::Expired(claims) } else { Token::Live(claims) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUDIENCE: &str = "https://auth.example.org";

    fn claims() -> Claims {
        let text = |t: &str| t.to_owned();
        Claims {
            purpose: text("mfa"),
            subject: text("u1"),
            session: text("s1"),
            id: text("c1"),
            expires_at: Time::from_secs(100),
        }
    }
    fn at(secs: u64) -> Time {
        Time::from_secs(secs)
    }

    #[test]
    fn a_token_opens_until_it_expires() {
        let ring = Ring::generate(at(0));
        let token = sign(&ring, AUDIENCE, &claims(), at(1)).unwrap();
        assert_eq!(open(&ring, AUDIENCE, "mfa", &token, at(99)), Some(Token::Live(claims())));
        assert_eq!(open(&ring, AUDIENCE, "mfa", &token, at(100)), Some(Token::Expired(claims())));
    }

    #[test]
    fn every_flip_cut_and_other_spelling_is_refused() {
        let ring = Ring::generate(at(0));
        let token = sign(&ring, AUDIENCE, &claims(), at(1)).unwrap();
        let opens = |token: &str| open(&ring, AUDIENCE, "mfa", token, at(1)).is_some();
        assert!(opens(&token));
        for bit in 0..token.len() * 8 {
            let mut bytes = token.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(flipped) = String::from_utf8(bytes) {
                assert!(!opens(&flipped), "bit {bit}");
            }
        }
        (0..token.len()).for_each(|len| assert!(!opens(&token[..len]), "cut to {len}"));
        for other in [
            format!("{token}="),
            format!("{token} "),
            format!(" {token}"),
            token.replace("v1.", "v2."),
            format!("{token}."),
        ] {
            assert!(!opens(&other), "{other}");
        }
        for hostile in
            ["", ".", "...", "v1...", "v1.../../etc.x.y", "v1.' or 1=1.x.y", &"v1.a.b.c".repeat(2000)]
        {
            assert!(!opens(hostile));
        }
    }

    #[test]
    fn purpose_audience_and_key_each_keep_tokens_apart() {
        let mut ring = Ring::generate(at(0));
        let token = sign(&ring, AUDIENCE, &claims(), at(1)).unwrap();
        assert_eq!(open(&ring, AUDIENCE, "link", &token, at(1)), None);
        assert_eq!(open(&ring, "https://other.example.org", "mfa", &token, at(1)), None);
        assert_eq!(open(&Ring::generate(at(0)), AUDIENCE, "mfa", &token, at(1)), None);
        let first = ring.active(Role::Token).unwrap().kid_text();
        ring.rotate(at(2));
        assert!(open(&ring, AUDIENCE, "mfa", &token, at(3)).is_some(), "rotation keeps it");
        ring.retire(&first, at(900), std::time::Duration::from_secs(1), 0).unwrap();
        assert_eq!(open(&ring, AUDIENCE, "mfa", &token, at(3)), None, "retiring ends it");
    }
}
