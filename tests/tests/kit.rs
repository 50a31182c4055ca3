//! The test kit opens no door: nothing of it is in what is shipped.
use countersign_tests::{Artifacts, Host, Site};
use serde_json::{Value, json};
use std::fs;
use xtask::{
    artifacts::{library, plugins},
    project::{metadata, root},
};

#[test]
fn nothing_of_the_kit_is_in_what_is_shipped() {
    let artifacts = Artifacts::get();
    let plugins = plugins().expect("the plugins");
    let libraries = plugins.iter().map(|plugin| artifacts.dir().join(library(plugin)));
    for file in libraries.chain([artifacts.binary()]) {
        let bytes = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let text = String::from_utf8_lossy(&bytes);
        // Its crate by name, as symbols and panics have it, and the only thing it moves a clock with.
        for word in ["countersign_test_kit", "test-kit/src", "FAKETIME", "faketime"] {
            assert!(!text.contains(word), "{} names {word}", file.display());
        }
    }
}

#[test]
fn no_shipped_crate_has_a_feature_or_a_dependency_for_tests() {
    let metadata = metadata(root()).expect("cargo describes the workspace");
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("a name");
        if ["countersign-tests", "countersign-test-kit", "xtask", "siege", "bench"].contains(&name) {
            continue;
        }
        let dependencies = package["dependencies"].as_array().expect("dependencies");
        // What its own tests use is not built into it.
        let mut built_in = dependencies.iter().filter(|on| on["kind"] != "dev");
        assert!(built_in.all(|on| on["name"] != "countersign-test-kit"), "{name}");
        let features: Vec<&String> = package["features"].as_object().expect("features").keys().collect();
        let allowed: &[&str] = if name == "countersign-plugin-api" { &["conformance"] } else { &[] };
        assert_eq!(features, allowed, "{name}: a feature could change what a binary does");
    }
}

/// A clock from outside is refused unless the operator says otherwise, aloud.
#[test]
fn a_preloaded_clock_is_refused_without_being_asked_for() {
    let site = Site::with_store("memory").with_clock();
    let refused = site.command(&["serve"]).output().expect("the binary starts");
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("LD_PRELOAD"), "{said}");
    let host = site.start();
    assert!(host.log().contains("LD_PRELOAD"), "{}", host.log());
}

#[test]
fn people_are_brought_into_every_state() {
    let host = Host::start();
    let mut ann = host.user_fixture("ann@example.org");
    assert_eq!(host.browser().ask("POST /login", ann.credentials()).status, 200);
    let mut browser = host.setup_totp(&mut ann);
    assert_eq!(browser.ask("GET /mfa/status", Value::Null).expect(200)["recovery_codes_remaining"], 8);
    host.site().mailbox().take_where(&ann.email, |mail| mail.subject.contains("authenticator"));
    let old = ann.recovery_codes.clone();
    let new = host.create_recovery_codes(&mut ann);
    assert!(new.len() == 8 && new.iter().all(|code| !old.contains(code)));

    let challenge = host.mfa_pending_challenge(&ann);
    let mut program = host.program();
    let proof = json!({ "challenge": challenge, "code": host.generate_totp_code(&ann) });
    program.ask("POST /mfa/totp/verify", proof).expect(200);
    program.ask("GET /me", Value::Null).expect(200);

    let mut trusted = host.trust_browser(&ann);
    trusted.ask("POST /login", ann.credentials()).expect(200);
    host.simulate_lockout(&ann).refused(429, "locked");
    let mut waiting = host.mfa_pending_session(&ann);
    let right = json!({ "code": host.generate_totp_code(&ann) });
    waiting.ask("POST /mfa/totp/verify", right).refused(429, "locked");
    host.stop();
}
