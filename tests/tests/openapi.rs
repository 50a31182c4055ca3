//! The description of the interface: it is what was agreed (`BLESS=1` writes down what it is now), and the host serves
//! just the routes that the contract's table has.
use countersign_tests::{Host, api};
use serde_json::Value;
use std::fs;
use xtask::project::root;

fn document(host: &Host) -> Value {
    let reply = host.browser().get("/openapi.json").expect("an answer");
    assert_eq!(reply.header("content-type"), Some("application/json"));
    reply.expect(200)
}

#[test]
fn it_is_as_it_was_agreed() {
    let golden = root().join("tests/golden/openapi.json");
    let now = serde_json::to_string_pretty(&document(&Host::start())).expect("JSON") + "\n";
    if std::env::var_os("BLESS").is_some() {
        fs::write(&golden, &now).expect("the golden file");
    }
    assert_eq!(fs::read_to_string(golden).unwrap_or_default(), now);
}

#[test]
fn everything_in_it_can_be_called_and_refers_to_what_is_there() {
    let host = Host::start();
    let document = document(&host);
    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.contains_key(&api("/login")) && paths.contains_key(&api("/mfa/totp/verify")));
    for (path, operations) in paths {
        for (method, operation) in operations.as_object().expect("operations") {
            let place = format!("{method} {path}");
            let reply = host.browser().send(&method.to_uppercase(), path, &[], None).expect("an answer");
            let status = reply.status.to_string();
            assert!(reply.status != 405, "{place}");
            let response = &operation["responses"][&status];
            assert!(response.is_object(), "{place} answers {status}, which is not described");
            if let Some(slug) = reply.problem() {
                let content = &response["content"]["application/problem+json"]["schema"]["allOf"][1];
                let types = content["properties"]["type"]["enum"].as_array().expect("slugs");
                let kind = format!("urn:countersign:problem:{slug}");
                assert!(types.contains(&kind.as_str().into()), "{place} refuses with {slug}: {types:?}");
            }
            let body = &operation["requestBody"]["content"]["application/json"]["schema"];
            assert!(body.is_null() || body["additionalProperties"] == false, "{place}");
        }
    }
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().expect("a reference");
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
}
