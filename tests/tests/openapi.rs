//! The description of the interface: it is what was agreed (`BLESS=1` writes down what it is now), and everything in it
//! is there. That the host answers as it says is asked of every answer of the contract, in `contract`.
use countersign_tests::{Client, Description, Host, NONE, Site};
use serde_json::Value;
use std::{fmt::Write as _, fs};
use xtask::{
    project::{command, root},
    tools::schemathesis,
};

/// As wide as a line becomes.
const WIDTH: usize = 120;

/// JSON to be read: what fits into a line stands in one.
fn write(value: &Value, indent: usize, out: &mut String) {
    let line = value.to_string();
    let inner = " ".repeat(2 * indent + 2);
    let (brackets, parts): (_, Vec<(String, &Value)>) = match value {
        Value::Object(fields) if indent < 2 || inner.len() + line.len() > WIDTH => (
            "{}",
            fields.iter().map(|(name, value)| (format!("{}: ", Value::from(name.as_str())), value)).collect(),
        ),
        Value::Array(items) if inner.len() + line.len() > WIDTH => {
            ("[]", items.iter().map(|item| (String::new(), item)).collect())
        }
        _ => return out.push_str(&line),
    };
    out.push_str(&brackets[..1]);
    for (at, (name, part)) in parts.into_iter().enumerate() {
        let _ = write!(out, "{}\n{inner}{name}", if at == 0 { "" } else { "," });
        write(part, indent + 1, out);
    }
    let _ = write!(out, "\n{}{}", &inner[2..], &brackets[1..]);
}

#[test]
fn it_is_as_it_was_agreed() {
    let golden = root().join("tests/golden/openapi.json");
    let host = Host::start();
    let description = Description::of(&host);
    let mut now = String::new();
    write(description.document(), 0, &mut now);
    now.push('\n');
    if std::env::var_os("BLESS").is_some() {
        fs::write(&golden, &now).expect("the golden file");
    }
    assert_eq!(fs::read_to_string(golden).unwrap_or_default(), now);
}

#[test]
fn everything_in_it_can_be_called_and_refers_to_what_is_there() {
    let host = Host::start();
    let description = Description::of(&host);
    let mut ids: Vec<&Value> = Vec::new();
    for (method, path, operation) in description.operations() {
        let place = format!("{method} {path}");
        let reply = host.browser().send(&method, path, &[], None).expect("an answer");
        assert_eq!(description.objection(&method, path, &reply), None, "{place}: {}", reply.text());
        assert!(!ids.contains(&&operation["operationId"]), "{place}");
        ids.push(&operation["operationId"]);
        let tags = description.document()["tags"].as_array().expect("tags");
        assert!(tags.iter().any(|tag| tag["name"] == operation["tags"][0]), "{place}");
        let body = &operation["requestBody"]["content"]["application/json"]["schema"];
        let closed = body["additionalProperties"] == false || body["$ref"].is_string();
        assert!(body.is_null() || closed, "{place}");
    }
    let text = description.document().to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().expect("a reference");
        assert!(description.document().pointer(pointer).is_some(), "{pointer}");
    }
    for kind in ["schemas", "responses", "headers"] {
        for name in description.document()["components"][kind].as_object().expect("components").keys() {
            assert!(text.contains(&format!("\"$ref\":\"#/components/{kind}/{name}\"")), "{name} is not used");
        }
    }
}

#[test]
fn who_does_not_want_it_shown_has_it_not() {
    let host = Site::new().with("openapi", false).start();
    for path in ["/openapi.json", "/openapi"] {
        host.browser().get(path).expect("an answer").refused(404, "not-found");
    }
}

/// Whether answers are what the description says: no 5xx among them, and no status, media type, header or body that it
/// does not know; neither to what it allows nor to what it does not.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance,unsupported_method,\
                      allow_header_conformance,negative_data_rejection";

/// Requests that are drawn for an operation. `SCHEMATHESIS_EXAMPLES=40` also tries the examples of the description and the
/// limits of every value, `SCHEMATHESIS_SEED` draws others, and `SCHEMATHESIS_STORE` has the records elsewhere: minutes, for
/// whoever changes the interface.
const EXAMPLES: &str = "1";

/// What can end the session that one asks with: the tool fills in what it has read in earlier answers, and what the
/// description has for an example, with which Ann signs in anew. That ends the session that was held before.
const ENDS: [&str; 7] = [
    "post-login",
    "post-logout",
    "post-register",
    "post-mfa-totp-disable",
    "delete-sessions-id",
    "delete-admin-users-id-sessions",
    "post-admin-users-id-mfa-reset",
];

/// An independent tool asks for everything, as three different people; what would end their session is left to the
/// one who has none.
#[test]
fn schemathesis_finds_no_5xx_and_no_undocumented_answer() {
    let given = |name: &str| std::env::var(name).ok();
    let store = given("SCHEMATHESIS_STORE").unwrap_or_else(|| "memory".into());
    let host = Site::with_store(&store).with_clock().with_mail().start();
    let (signed_in, _) = host.registered("ann@example.org");
    let mut root_user = host.user_with_role("root@example.org", "admin");
    let administrator = host.setup_totp(&mut root_user);
    let (wanted, seed) = (given("SCHEMATHESIS_EXAMPLES"), given("SCHEMATHESIS_SEED"));
    let phases = if wanted.is_some() { "examples,coverage,fuzzing" } else { "fuzzing" };
    let examples = wanted.unwrap_or_else(|| EXAMPLES.into());
    let ask = |who: &str, client: Option<&Client>| {
        let mut tool = command(schemathesis().expect("where it is"));
        tool.args(["--no-color", "--config-file"]).arg(root().join("tests/openapi/schemathesis.toml"));
        tool.args(["run", "--checks", CHECKS, "--phases", phases, "--max-examples", &examples]);
        tool.args(["--max-redirects", "0", "--warnings", "off"]);
        match &seed {
            Some(seed) => tool.args(["--seed", seed]),
            None => tool.arg("--generation-deterministic"),
        };
        if let Some(client) = client {
            let cookie = client.cookie("countersign").expect("a session");
            tool.arg("--header").arg(format!("Cookie: countersign={cookie}"));
            for ends in ENDS {
                tool.args(["--exclude-operation-id", ends]);
            }
        }
        tool.arg(format!("http://{}/openapi.json", host.address()));
        let output = tool.current_dir(host.site().dir()).output().expect("the tool starts");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{who}:\n{said}{}", String::from_utf8_lossy(&output.stderr));
        // It must have asked, and not only not have complained.
        assert!(said.contains(" generated, "), "{who}:\n{said}");
    };
    std::thread::scope(|scope| {
        scope.spawn(|| ask("nobody", None));
        scope.spawn(|| ask("somebody", Some(&signed_in)));
        scope.spawn(|| ask("an administrator", Some(&administrator)));
    });
    for client in [signed_in, administrator] {
        client.clone().ask("GET /session", NONE).expect(200);
    }
}
