//! The environment wins over the file, and is refused like it.
use countersign_tests::{Reply, Site, api, oathtool};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SECRET: &str = "kVY2hT9wq0ZsX4nB7mLr1pJcE6uGdAo3";
const PASSWORD: &str = "correct horse battery staple";

fn stderr(site: &Site, words: &[&str]) -> (bool, String) {
    let output = site.run(words);
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn every_variable_is_refused_by_its_name_and_never_repeated() {
    for (name, value, why) in [
        ("MFA_CHALLENGE_SECRET", "canary", "shorter than 32 bytes"),
        ("MFA_CHALLENGE_SECRET", "dev-secret-canary-dev-secret-canary-", "a placeholder"),
        ("MFA_CHALLENGE_SECRET", "0000000000000000000000000000000000000000", "not random"),
        ("MFA_OTP_TTL", "300", "not a duration"),
        ("MFA_OTP_TTL", "11m", "from \"1s\" to \"10m\""),
        ("MFA_LOCKOUT_THRESHOLD", "five", "not a whole number"),
        ("MFA_LOCKOUT_THRESHOLD", "0", "from 1 to 100"),
        ("MFA_LOCKOUT_MINUTES", "-1", "not a whole number"),
        ("MFA_LOCKOUT_MINUTES", "1441", "lockout.duration"),
        ("MFA_PW_MIN_LEN", "7", "from 8 to 64"),
    ] {
        let site = Site::with_store("sqlite").with_variable(name, value);
        let (accepted, said) = stderr(&site, &["config", "check"]);
        assert!(!accepted && said.contains(name) && said.contains(why), "{name}={value}: {said}");
        assert!(!said.contains("canary"), "{said}");
    }
    let refused = Site::with_store("sqlite").with_variable("MFA_CHALLENGE_SECRET", "canary").refuses();
    assert!(refused.contains("MFA_CHALLENGE_SECRET") && !refused.contains("canary"), "{refused}");
}

#[test]
fn the_secret_of_the_environment_signs_and_the_files_key_checks_on() {
    let site = Site::with_store("sqlite").with_variable("MFA_CHALLENGE_SECRET", SECRET);
    let listed = site.run(&["keys", "list", "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    let keys = listed["keys"].as_array().expect("keys");
    let tokens: Vec<&Value> = keys.iter().filter(|key| key["role"] == "token").collect();
    assert_eq!(tokens.len(), 2, "{listed}");
    let signs = tokens.iter().find(|key| key["state"] == "active").expect("one signs");
    assert_eq!(signs["source"], "environment");
    assert!(!std::fs::read_to_string(site.path("keys.toml")).expect("keys").contains(SECRET));

    let host = site.start();
    let mut ann = host.browser();
    let account = json!({ "email": "ann@example.org", "password": PASSWORD });
    assert_eq!(post(&mut ann, "/register", &account).status, 201);
    let enrolment = post(&mut ann, "/mfa/totp/enroll", &json!({})).json();
    let secret = enrolment["secret"].as_str().expect("a secret");
    let now = (SystemTime::now() - Duration::from_secs(30)).duration_since(UNIX_EPOCH).expect("after 1970");
    let body = json!({ "code": oathtool(secret, now.as_secs()), "enrollment": enrolment["enrollment"] });
    assert_eq!(post(&mut ann, "/mfa/totp/verify", &body).status, 200);
    let challenged = post(&mut host.browser(), "/login", &account).json();
    let challenge = challenged["challenge"].as_str().expect("a challenge");
    let kid = challenge.split('.').nth(1).expect("a kid");
    assert_eq!(signs["kid"], kid, "the environment's key has signed {challenge}");
}

#[test]
fn the_rules_of_the_environment_are_the_rules() {
    let site = Site::with_store("sqlite").with_variable("MFA_PW_MIN_LEN", "40");
    let host = site.start();
    let account = json!({ "email": "ann@example.org", "password": PASSWORD });
    assert_eq!(
        post(&mut host.browser(), "/register", &account).problem().as_deref(),
        Some("password-policy")
    );
}

fn post(client: &mut countersign_tests::Client, path: &str, body: &Value) -> Reply {
    client.post(&api(path), body).expect("an answer")
}
