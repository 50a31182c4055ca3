//! Variables of the environment that configured this software's ancestor; they win over the file.
use super::Env;
use countersign_plugin_api::Secret;
use serde_json::{Map, Value as Json};

struct Variable {
    name: &'static str,
    table: &'static str,
    key: &'static str,
    reads: fn(&str) -> Option<Json>,
    /// What it should have been.
    wanted: &'static str,
}

const VARIABLES: [Variable; 4] = [
    Variable {
        name: "MFA_OTP_TTL",
        table: "email_otp",
        key: "ttl",
        reads: duration,
        wanted: "a duration, like `5m`",
    },
    Variable {
        name: "MFA_LOCKOUT_THRESHOLD",
        table: "lockout",
        key: "threshold",
        reads: |text| whole(text).map(Json::from),
        wanted: "a whole number",
    },
    Variable {
        name: "MFA_LOCKOUT_MINUTES",
        table: "lockout",
        key: "duration",
        reads: |text| whole(text).map(|minutes| format!("{minutes}m").into()),
        wanted: "a whole number",
    },
    Variable {
        name: "MFA_PW_MIN_LEN",
        table: "password",
        key: "min_length",
        reads: |text| whole(text).map(Json::from),
        wanted: "a whole number",
    },
];
const PLUGIN: &str = "mfa";
/// The variable that signs tokens; every other setting of the key ring is the key file's.
pub(super) const TOKEN_SECRET: &str = "MFA_CHALLENGE_SECRET";

fn whole(text: &str) -> Option<u32> {
    // `parse` would take a sign.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// A duration as the ancestor spelled it: `5m`, and `1m30s` as well.
fn duration(text: &str) -> Option<Json> {
    let (mut rest, mut secs) = (text, 0u64);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let unit = match rest.as_bytes().get(digits)? {
            b's' => 1,
            b'm' => 60,
            b'h' => 3_600,
            b'd' => 86_400,
            _ => return None,
        };
        secs = secs.checked_add(u64::from(whole(&rest[..digits])?).checked_mul(unit)?)?;
        rest = &rest[digits + 1..];
    }
    (!text.is_empty()).then(|| format!("{secs}s").into())
}

/// Puts what the environment says in the place of what the table says. Returned are the variables that make no
/// sense, and why.
pub(super) fn override_with_env(plugin: &str, table: &mut Json, env: Env) -> Vec<(&'static str, String)> {
    let mut wrong = Vec::new();
    let set = VARIABLES.iter().filter(|_| plugin == PLUGIN).filter_map(|v| Some((v, env(v.name)?)));
    for (variable, text) in set {
        let text = text.to_string_lossy();
        let Some(value) = (variable.reads)(&text) else {
            wrong.push((variable.name, format!("`{text}` in the environment is not {}", variable.wanted)));
            continue;
        };
        // What is no table is left for the plugin to refuse.
        if let Some(table) = table.as_object_mut()
            && let Some(inner) =
                table.entry(variable.table).or_insert_with(|| Map::new().into()).as_object_mut()
        {
            inner.insert(variable.key.into(), value);
        }
    }
    wrong
}

/// What signs tokens instead of the key file, or why it must not. No sentence repeats any of it.
pub(super) fn token_secret(env: Env) -> Result<Option<Secret<String>>, String> {
    let Some(secret) = env(TOKEN_SECRET) else { return Ok(None) };
    let Some(secret) = secret.to_str() else { return Err("is not UTF-8 in the environment".into()) };
    match weakness(secret.as_bytes()) {
        Some(why) => Err(format!(
            "{why} in the environment: whoever guesses it signs links and challenges. Take `openssl rand -base64 32`, or unset it and let the key file sign"
        )),
        None => Ok(Some(Secret::new(secret.to_owned()))),
    }
}

/// What somebody made up, or copied from an example. Random bytes in any spelling pass.
fn weakness(secret: &[u8]) -> Option<&'static str> {
    const PLACEHOLDERS: [&[u8]; 12] = [
        b"change",
        b"secret",
        b"insecure",
        b"password",
        b"example",
        b"default",
        b"placeholder",
        b"replace",
        b"develop",
        b"dev-",
        b"dev_",
        b"not-for-prod",
    ];
    if secret.len() < 32 {
        return Some("is shorter than 32 bytes");
    }
    let folded = secret.to_ascii_lowercase();
    if PLACEHOLDERS.iter().any(|word| folded.windows(word.len()).any(|part| part == *word)) {
        return Some("is a placeholder, or holds one,");
    }
    // One byte after the other, up, down or the same: 32 random ones hardly ever go on like that half the time.
    let steps = secret.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) <= 1).count();
    let repeats = (1..=secret.len() / 2).any(|period| secret[period..] == secret[..secret.len() - period]);
    let different = secret.iter().collect::<std::collections::HashSet<_>>().len();
    (different < 8 || repeats || steps * 2 > secret.len()).then_some("is not random")
}

/// The variable that a value of a plugin's table was taken from.
pub(super) fn variable_of(plugin: &str, path: &str, env: Env) -> Option<&'static str> {
    let here = |v: &&Variable| path.split_once('.') == Some((v.table, v.key)) && env(v.name).is_some();
    VARIABLES.iter().find(here).filter(|_| plugin == PLUGIN).map(|variable| variable.name)
}

/// A variable whose key stands in a sentence about several keys.
pub(super) fn mentioned_in(plugin: &str, sentence: &str, env: Env) -> Option<&'static str> {
    let here = |v: &&Variable| {
        let path = format!("{}.{}", v.table, v.key);
        sentence.split([' ', '`']).any(|word| word == path) && env(v.name).is_some()
    };
    VARIABLES.iter().find(here).filter(|_| plugin == PLUGIN).map(|variable| variable.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_environment_wins_over_the_table() {
        let env: Env = |name| match name {
            "MFA_LOCKOUT_THRESHOLD" => Some("7".into()),
            "MFA_LOCKOUT_MINUTES" => Some("20".into()),
            "MFA_PW_MIN_LEN" => Some("+15".into()),
            "MFA_OTP_TTL" => Some("1m30s".into()),
            _ => None,
        };
        let mut table = json!({ "issuer": "x", "lockout": { "threshold": 5, "max_duration": "1d" } });
        let wrong = override_with_env("mfa", &mut table, env);
        let lockout = json!({ "threshold": 7, "duration": "20m", "max_duration": "1d" });
        assert_eq!(table, json!({ "issuer": "x", "lockout": lockout, "email_otp": { "ttl": "90s" } }));
        let why = "`+15` in the environment is not a whole number".to_owned();
        assert_eq!(wrong, [("MFA_PW_MIN_LEN", why)]);
        assert_eq!(variable_of("mfa", "lockout.duration", env), Some("MFA_LOCKOUT_MINUTES"));
        assert_eq!(variable_of("mfa", "lockout.max_duration", env), None);
        let both = "lockout.max_duration must not be shorter than lockout.duration";
        assert_eq!(mentioned_in("mfa", both, env), Some("MFA_LOCKOUT_MINUTES"));
        assert_eq!(mentioned_in("mfa", "lockout.max_duration is odd", env), None);

        let mut other = json!({});
        assert!(override_with_env("other", &mut other, env).is_empty());
        assert_eq!((other, variable_of("other", "lockout.duration", env)), (json!({}), None));
    }

    #[test]
    fn durations_are_read_as_the_ancestor_spelled_them() {
        for (text, secs) in
            [("5m", 300), ("300s", 300), ("0s", 0), ("1h", 3600), ("1m30s", 90), ("1h0m1s", 3601)]
        {
            assert_eq!(duration(text), Some(format!("{secs}s").into()), "{text}");
        }
        for text in ["", "5", "m", "5m3", "-5m", "+5m", "1.5m", "5 m", "5min", "500ms", "99999999999h", "5µs"]
        {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_secret_that_somebody_made_up_signs_nothing_and_is_not_repeated() {
        let refused = |env: Env| token_secret(env).err().expect("a refusal");
        for (secret, why) in [
            ("", "shorter"),
            ("kVY2hT9wq0ZsX4nB7mLr1pJcE6uGdAo", "shorter"),
            ("dev-kVY2hT9wq0ZsX4nB7mLr1pJcE6uGdAo3", "placeholder"),
            ("ChangeMe-kVY2hT9wq0ZsX4nB7mLr1pJcE6uG", "placeholder"),
            ("my-super-secret-key-for-signing-tokens", "placeholder"),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "not random"),
            ("abababababababababababababababababababab", "not random"),
            ("kVY2hT9wq0ZsX4nBkVY2hT9wq0ZsX4nB", "not random"),
            ("abcdefghijklmnopqrstuvwxyz0123456789", "not random"),
        ] {
            let said = weakness(secret.as_bytes()).unwrap_or_else(|| panic!("{secret} was accepted"));
            assert!(said.contains(why), "{secret}: {said}");
        }
        for secret in [
            "kVY2hT9wq0ZsX4nB7mLr1pJcE6uGdAo3",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=",
        ] {
            assert_eq!(weakness(secret.as_bytes()), None, "{secret}");
        }
        let said = refused(|_| Some("dev-kVY2hT9wq0ZsX4nB7mLr1pJcE6uGdAo3".into()));
        assert!(!said.contains("kVY2"), "{said}");
        assert!(token_secret(|_| None).is_ok_and(|secret| secret.is_none()));
    }
}
