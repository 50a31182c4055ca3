//! The table `[mfa]`: every value has a default and bounds, and unknown keys are refused at every level.
use countersign_plugin_api::Span;
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};
use std::{fmt, time::Duration};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const YEAR: u64 = 365 * DAY;

/// The configuration, which is the plugin.
#[derive(Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Mfa {
    /// The name that an authenticator app shows.
    #[serde(deserialize_with = "issuer")]
    pub(crate) issuer: String,
    /// How long a login may wait for its second factor.
    #[serde(deserialize_with = "span::<_, 1, HOUR>")]
    pub(crate) challenge_ttl: Duration,
    /// How fresh a proof must be to change credentials.
    #[serde(deserialize_with = "span::<_, 1, DAY>")]
    pub(crate) step_up_window: Duration,
    /// How long a browser is trusted at most, however often it signs in.
    #[serde(deserialize_with = "span::<_, 1, YEAR>")]
    pub(crate) trust_browser_ttl: Duration,
    /// Who must have a second factor.
    pub(crate) require: Require,
    /// How long after an account was made its owner may still enrol later.
    #[serde(deserialize_with = "span::<_, 0, YEAR>")]
    pub(crate) grace_period: Duration,
    pub(crate) totp: Totp,
    pub(crate) recovery: Recovery,
    pub(crate) email_otp: EmailOtp,
    pub(crate) magic_link: MagicLink,
    pub(crate) lockout: Lockout,
    pub(crate) password: Password,
}

impl Default for Mfa {
    fn default() -> Self {
        Self {
            issuer: "Countersign".into(),
            challenge_ttl: Duration::from_secs(5 * MINUTE),
            step_up_window: Duration::from_secs(5 * MINUTE),
            trust_browser_ttl: Duration::from_secs(30 * DAY),
            require: Require::OptIn,
            grace_period: Duration::ZERO,
            totp: Totp::default(),
            recovery: Recovery::default(),
            email_otp: EmailOtp::default(),
            magic_link: MagicLink::default(),
            lockout: Lockout::default(),
            password: Password::default(),
        }
    }
}

/// `[mfa.totp]`
#[derive(Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Totp {
    /// How many time steps a clock may be off, either way.
    #[serde(deserialize_with = "number::<_, u64, 0, 1>")]
    pub(crate) skew_steps: u64,
}

impl Default for Totp {
    fn default() -> Self {
        Self { skew_steps: 1 }
    }
}

/// `[mfa.recovery]`
#[derive(Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Recovery {
    /// How many codes a set has; the kernel hashes at most 16 at once.
    #[serde(deserialize_with = "number::<_, usize, 1, 16>")]
    pub(crate) count: usize,
}

impl Default for Recovery {
    fn default() -> Self {
        Self { count: 8 }
    }
}

/// `[mfa.email_otp]`
#[derive(Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EmailOtp {
    /// How long a code is good: 10 minutes at most (NIST SP 800-63B-4, 3.1.3.2).
    #[serde(deserialize_with = "span::<_, 1, { 10 * MINUTE }>")]
    pub(crate) ttl: Duration,
    /// How many mails an account gets in `per`, of codes and of links each.
    #[serde(deserialize_with = "number::<_, usize, 1, 10>")]
    pub(crate) sends: usize,
    /// The time in which it gets them.
    #[serde(deserialize_with = "span::<_, 1, DAY>")]
    pub(crate) per: Duration,
    /// How many wrong guesses a code survives.
    #[serde(deserialize_with = "number::<_, u32, 1, 5>")]
    pub(crate) tries: u32,
}

impl Default for EmailOtp {
    fn default() -> Self {
        let (ttl, per) = (Duration::from_secs(5 * MINUTE), Duration::from_secs(10 * MINUTE));
        Self { ttl, sends: 3, per, tries: 5 }
    }
}

/// `[mfa.magic_link]`
#[derive(Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MagicLink {
    /// How long a link is good.
    #[serde(deserialize_with = "span::<_, 1, HOUR>")]
    pub(crate) ttl: Duration,
    /// Whether a mailed link is a way in.
    pub(crate) enabled: bool,
}

impl Default for MagicLink {
    fn default() -> Self {
        Self { ttl: Duration::from_secs(10 * MINUTE), enabled: true }
    }
}

/// `[mfa.lockout]`
#[derive(Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Lockout {
    /// How many wrong guesses lead to a lock; 100 in a row is the end in any case (NIST SP 800-63B-4, 3.2.2).
    #[serde(deserialize_with = "number::<_, u32, 1, 100>")]
    pub(crate) threshold: u32,
    /// How long the first lock holds; each further one holds twice as long.
    #[serde(deserialize_with = "span::<_, 1, YEAR>")]
    pub(crate) duration: Duration,
    /// How long a lock holds at most.
    #[serde(deserialize_with = "span::<_, 1, YEAR>")]
    pub(crate) max_duration: Duration,
}

impl Default for Lockout {
    fn default() -> Self {
        Self {
            threshold: 5,
            duration: Duration::from_secs(15 * MINUTE),
            max_duration: Duration::from_secs(DAY),
        }
    }
}

/// `[mfa.password]`
#[derive(Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Password {
    /// In characters. A password of 64 is always long enough (OWASP ASVS 6.2.9).
    #[serde(deserialize_with = "number::<_, usize, 8, 64>")]
    pub(crate) min_length: usize,
}

impl Default for Password {
    fn default() -> Self {
        Self { min_length: 12 }
    }
}

/// Who must have a second factor.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Require {
    /// Nobody: whoever wants one enrols.
    OptIn,
    /// Everybody.
    All,
    /// Accounts of these roles.
    Roles(Vec<String>),
}

impl<'de> Deserialize<'de> for Require {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whom;

        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Named {
            roles: Vec<String>,
        }

        impl<'de> Visitor<'de> for Whom {
            type Value = Require;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(r#""opt-in", "all" or { roles = ["admin"] }"#)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Require, E> {
                match text {
                    "opt-in" => Ok(Require::OptIn),
                    "all" => Ok(Require::All),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Require, A::Error> {
                let Named { roles } = Named::deserialize(MapAccessDeserializer::new(map))?;
                if roles.is_empty() || roles.iter().any(String::is_empty) {
                    return Err(de::Error::custom("`roles` must name at least one role, none of them empty"));
                }
                Ok(Require::Roles(roles))
            }
        }

        deserializer.deserialize_any(Whom)
    }
}

/// An issuer stands before a colon in the URI's label, so it holds none (it is dropped later, R04); it stands
/// there twice, so it must leave room for the account in a QR code.
fn issuer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let issuer = String::deserialize(deserializer)?;
    if issuer.replace(':', "").trim().is_empty() || issuer.len() > 64 || issuer.contains(char::is_control) {
        return Err(de::Error::custom(
            "must be 1 to 64 bytes of text, not of colons alone, without control characters",
        ));
    }
    Ok(issuer)
}

fn number<'de, D, T, const MIN: u64, const MAX: u64>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    let number = u64::deserialize(deserializer)?;
    let inside = (MIN..=MAX).contains(&number).then(|| T::try_from(number).ok()).flatten();
    inside.ok_or_else(|| de::Error::custom(format_args!("must be from {MIN} to {MAX}")))
}

fn span<'de, D, const MIN: u64, const MAX: u64>(deserializer: D) -> Result<Duration, D::Error>
where
    D: Deserializer<'de>,
{
    let Span(span) = Span::deserialize(deserializer)?;
    if (MIN..=MAX).contains(&span.as_secs()) {
        return Ok(span);
    }
    Err(de::Error::custom(format_args!("must be from {} to {}", spelled(MIN), spelled(MAX))))
}

/// A bound in the largest unit that divides it.
fn spelled(secs: u64) -> String {
    let units = [(DAY, "d"), (HOUR, "h"), (MINUTE, "m")];
    match units.iter().find(|(unit, _)| secs > 0 && secs.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("\"{}{name}\"", secs / unit),
        None => format!("\"{secs}s\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_plugin_api::Plugin;
    use serde_json::{Value, json};

    fn read(table: Value) -> Result<Mfa, String> {
        let config: Mfa = serde_json::from_value(table).map_err(|e| e.to_string())?;
        config.check().map_err(|e| e.to_string())?;
        Ok(config)
    }

    #[test]
    fn an_empty_table_is_the_documented_defaults() {
        let config = read(json!({})).unwrap();
        assert_eq!(config.issuer, "Countersign");
        assert_eq!(config.challenge_ttl.as_secs(), 300);
        assert_eq!(config.step_up_window.as_secs(), 300);
        assert_eq!(config.trust_browser_ttl.as_secs(), 30 * 86_400);
        assert_eq!((config.email_otp.ttl.as_secs(), config.email_otp.per.as_secs()), (300, 600));
        assert_eq!((config.email_otp.sends, config.email_otp.tries), (3, 5));
        assert_eq!((config.magic_link.ttl.as_secs(), config.magic_link.enabled), (600, true));
        assert_eq!(config.require, Require::OptIn);
        assert!(config.grace_period.is_zero());
        assert_eq!(config.totp.skew_steps, 1);
        assert_eq!(config.recovery.count, 8);
        assert_eq!(config.lockout.threshold, 5);
        assert_eq!(config.lockout.duration.as_secs(), 900);
        assert_eq!(config.lockout.max_duration.as_secs(), 86_400);
        assert_eq!(config.password.min_length, 12);
    }

    /// What stands there as TOML is JSON too, value by value.
    #[test]
    fn the_reference_shows_the_defaults() {
        let mut shown = json!({});
        let (mut table, mut count) = ("", 0);
        for line in include_str!("../../docs/configuration.toml").lines() {
            if let Some(name) = line.trim_start_matches('#').strip_prefix('[') {
                table = name.trim_end_matches(']');
            } else if let Some((key, value)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
                let Some(below) = table.strip_prefix("mfa") else { continue };
                let value: Value = serde_json::from_str(value).unwrap();
                match below.strip_prefix('.') {
                    Some(name) => shown[name][key] = value,
                    None => shown[key] = value,
                }
                count += 1;
            }
        }
        assert_eq!(count, 18);
        assert!(read(shown).unwrap() == Mfa::default());
    }

    #[test]
    fn requirements_read_in_their_three_forms() {
        for (form, require) in [
            (json!("opt-in"), Require::OptIn),
            (json!("all"), Require::All),
            (json!({"roles": ["admin", "ops"]}), Require::Roles(vec!["admin".into(), "ops".into()])),
        ] {
            assert_eq!(read(json!({ "require": form })).unwrap().require, require);
        }
    }

    #[test]
    fn what_is_out_of_bounds_or_unknown_is_refused() {
        for (table, part) in [
            (json!({"isuer": "x"}), "unknown field `isuer`"),
            (json!({"totp": {"digits": 8}}), "unknown field `digits`"),
            (json!({"recovery": {"cnt": 8}}), "unknown field `cnt`"),
            (json!({"lockout": {"tries": 8}}), "unknown field `tries`"),
            (json!({"password": {"upper": true}}), "unknown field `upper`"),
            (json!({"require": {"roles": ["a"], "x": 1}}), "unknown field `x`"),
            (json!({"require": "none"}), "opt-in"),
            (json!({"require": {"roles": []}}), "at least one role"),
            (json!({"issuer": ""}), "1 to 64 bytes"),
            (json!({"issuer": "::"}), "1 to 64 bytes"),
            (json!({"issuer": "a\nb"}), "1 to 64 bytes"),
            (json!({"issuer": "i".repeat(65)}), "1 to 64 bytes"),
            (json!({"challenge_ttl": "0s"}), "from \"1s\" to \"1h\""),
            (json!({"challenge_ttl": "2h"}), "from \"1s\" to \"1h\""),
            (json!({"challenge_ttl": 300}), "expected a string"),
            (json!({"step_up_window": "5 parsecs"}), "not a duration"),
            (json!({"totp": {"skew_steps": 2}}), "from 0 to 1"),
            (json!({"totp": {"skew_steps": -1}}), "-1"),
            (json!({"recovery": {"count": 0}}), "from 1 to 16"),
            (json!({"recovery": {"count": 17}}), "from 1 to 16"),
            (json!({"trust_browser_ttl": "0s"}), "from \"1s\" to \"365d\""),
            (json!({"email_otp": {"digits": 8}}), "unknown field `digits`"),
            (json!({"email_otp": {"ttl": "11m"}}), "from \"1s\" to \"10m\""),
            (json!({"email_otp": {"sends": 0}}), "from 1 to 10"),
            (json!({"email_otp": {"tries": 6}}), "from 1 to 5"),
            (json!({"email_otp": {"per": "2d"}}), "from \"1s\" to \"1d\""),
            (json!({"magic_link": {"ttl": "2h"}}), "from \"1s\" to \"1h\""),
            (json!({"magic_link": {"enabled": "yes"}}), "boolean"),
            (json!({"lockout": {"threshold": 0}}), "from 1 to 100"),
            (json!({"lockout": {"threshold": 101}}), "from 1 to 100"),
            (json!({"lockout": {"duration": "2d"}}), "lockout.max_duration"),
            (json!({"password": {"min_length": 7}}), "from 8 to 64"),
        ] {
            let error = read(table.clone()).err().unwrap_or_else(|| panic!("{table} was accepted"));
            assert!(error.contains(part), "{table}: {error}");
        }
    }
}
