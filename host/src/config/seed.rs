//! Variables of the environment that configured this software's ancestor; they win over `[mfa]`.
use super::Env;
use serde_json::{Map, Value as Json};

struct Variable {
    name: &'static str,
    table: &'static str,
    key: &'static str,
    /// For a duration, the unit in which the variable counts.
    unit: Option<&'static str>,
}

const VARIABLES: [Variable; 3] = [
    Variable { name: "MFA_LOCKOUT_THRESHOLD", table: "lockout", key: "threshold", unit: None },
    Variable { name: "MFA_LOCKOUT_MINUTES", table: "lockout", key: "duration", unit: Some("m") },
    Variable { name: "MFA_PW_MIN_LEN", table: "password", key: "min_length", unit: None },
];
const PLUGIN: &str = "mfa";

/// Puts what the environment says in the place of what the table says. Returned are the variables that make no
/// sense, and why.
pub(super) fn override_with_env(plugin: &str, table: &mut Json, env: Env) -> Vec<(&'static str, String)> {
    let mut wrong = Vec::new();
    let set = VARIABLES.iter().filter(|_| plugin == PLUGIN).filter_map(|v| Some((v, env(v.name)?)));
    for (variable, text) in set {
        let text = text.to_string_lossy();
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse::<u32>().ok().filter(|_| digits);
        let Some(number) = number else {
            wrong.push((variable.name, format!("`{text}` in the environment is not a whole number")));
            continue;
        };
        let value = variable.unit.map_or(number.into(), |unit| Json::from(format!("{number}{unit}")));
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

/// The variable that a value of a plugin's table was taken from.
pub(super) fn variable_of(plugin: &str, path: &str, env: Env) -> Option<&'static str> {
    let here = |v: &&Variable| path.split_once('.') == Some((v.table, v.key)) && env(v.name).is_some();
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
            _ => None,
        };
        let mut table = json!({ "issuer": "x", "lockout": { "threshold": 5, "max_duration": "1d" } });
        let wrong = override_with_env("mfa", &mut table, env);
        let lockout = json!({ "threshold": 7, "duration": "20m", "max_duration": "1d" });
        assert_eq!(table, json!({ "issuer": "x", "lockout": lockout }));
        let why = "`+15` in the environment is not a whole number".to_owned();
        assert_eq!(wrong, [("MFA_PW_MIN_LEN", why)]);
        assert_eq!(variable_of("mfa", "lockout.duration", env), Some("MFA_LOCKOUT_MINUTES"));
        assert_eq!(variable_of("mfa", "lockout.max_duration", env), None);

        let mut other = json!({});
        assert!(override_with_env("other", &mut other, env).is_empty());
        assert_eq!((other, variable_of("other", "lockout.duration", env)), (json!({}), None));
    }
}
