//! What holds for every row: who may call it, what its body must be, and which methods, hosts and sites are answered.
use crate::stage::Stage;
use countersign_tests::{Client, Credentials, NONE, Reply, Site};
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, fs};
use xtask::project::root;

/// Who may call a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    /// Everybody, whether signed in, half signed in or not at all.
    Anybody,
    /// Whoever has a session, of any type.
    AnySession,
    /// A standard session, also one that must enrol first.
    Standard,
    /// A standard session that policy is content with.
    Content,
    /// The same, of an administrator with a fresh second factor.
    Admin,
}
use Caller::{Admin, AnySession, Anybody, Content, Standard};

pub(crate) struct Row {
    pub(crate) name: &'static str,
    caller: Caller,
    /// An example of its body; empty where it takes none.
    body: &'static str,
}

const fn row(name: &'static str, caller: Caller, body: &'static str) -> Row {
    Row { name, caller, body }
}

/// The whole contract below `/api/auth`.
pub(crate) const ROWS: &[Row] = &[
    row("POST /register", Anybody, r#"{"email":"new@example.org","password":"pass","session":"bearer"}"#),
    row("GET /email/verify", Anybody, ""),
    row("POST /email/verify", Anybody, r#"{"token":"t","password":"pass"}"#),
    row("POST /email/verify/send", Standard, "{}"),
    row("POST /login", Anybody, r#"{"email":"a@example.org","password":"pass","session":"bearer"}"#),
    row("POST /logout", Anybody, "{}"),
    row("GET /session", AnySession, ""),
    row("GET /me", Content, ""),
    row("GET /verify", Content, ""),
    row("GET /sessions", Standard, ""),
    row("DELETE /sessions", Standard, ""),
    row("DELETE /sessions/{id}", Standard, ""),
    row("POST /reauthenticate", Standard, r#"{"password":"pass"}"#),
    row("POST /password/change", Standard, r#"{"current_password":"pass","new_password":"other"}"#),
    row("POST /password/reset", Anybody, r#"{"email":"a@example.org"}"#),
    row("POST /password/reset/confirm", Anybody, r#"{"token":"t","new_password":"pass"}"#),
    row("GET /mfa/status", Standard, ""),
    row("POST /mfa/totp/enroll", Standard, r#"{"label":"phone"}"#),
    row("POST /mfa/totp/verify", Anybody, r#"{"code":"123456","challenge":"c","trust_browser":true}"#),
    row("POST /mfa/totp/disable", Content, r#"{"factor":"f"}"#),
    row("POST /mfa/recovery/generate", Content, "{}"),
    row("POST /mfa/recovery/verify", Anybody, r#"{"code":"c","challenge":"c"}"#),
    row("POST /mfa/otp/send", Anybody, r#"{"challenge":"c"}"#),
    row("POST /mfa/otp/verify", Anybody, r#"{"code":"123456","challenge":"c","trust_browser":true}"#),
    row("POST /mfa/magic-link/send", Anybody, r#"{"email":"a@example.org"}"#),
    row("GET /mfa/magic-link/verify", Anybody, ""),
    row("POST /mfa/magic-link/verify", Anybody, r#"{"token":"t","session":"bearer"}"#),
    row("GET /mfa/challenge/status", Anybody, ""),
    row("POST /mfa/challenge/cancel", Anybody, r#"{"challenge":"c"}"#),
    row("GET /mfa/trusted-browsers", Content, ""),
    row("DELETE /mfa/trusted-browsers", Content, ""),
    row("DELETE /mfa/trusted-browsers/{id}", Content, ""),
    row("POST /mfa/password/validate", Anybody, r#"{"password":"pass"}"#),
    row("GET /admin/users", Admin, ""),
    row("GET /admin/users/{id}", Admin, ""),
    row("POST /admin/users/{id}/mfa/reset", Admin, "{}"),
    row("POST /admin/users/{id}/unlock", Admin, "{}"),
    row("DELETE /admin/users/{id}/sessions", Admin, ""),
    row("GET /admin/audit", Admin, ""),
];

impl Row {
    fn parts(&self) -> (&str, String) {
        let (method, path) = self.name.split_once(' ').expect("a method and a path");
        (method, format!("/api/auth{}", path.replace("{id}", "nobody")))
    }
    /// Whether its body may be empty.
    fn is_optional(&self) -> bool {
        ["verify/send", "enroll", "disable", "generate", "otp/send", "cancel", "mfa/reset", "unlock"]
            .iter()
            .any(|end| self.name.ends_with(end))
    }
    fn has_body(&self) -> bool {
        !self.body.is_empty()
    }
    fn fields(&self) -> Map<String, Value> {
        serde_json::from_str(self.body).expect("an object")
    }
    /// Asks with the example.
    fn ask(&self, stage: &Stage, client: &mut Client) -> Reply {
        let body = if self.has_body() { self.fields().into() } else { NONE };
        let reply = client.ask(&self.name.replace("{id}", "nobody"), body);
        stage.described(self.name, &reply);
        reply
    }
    fn send(&self, client: &mut Client, headers: &[(&str, &str)], body: &str) -> Reply {
        let (method, path) = self.parts();
        let body = self.has_body().then_some(body.as_bytes());
        client.send(method, &path, headers, body).unwrap_or_else(|error| panic!("{}: {error:#}", self.name))
    }
}

const JSON: (&str, &str) = ("content-type", "application/json");

/// The tables of the code, read as text: a row that is added there is added here.
#[test]
fn the_rows_here_are_the_rows_there() {
    let read = |file: &str| fs::read_to_string(root().join(file)).expect("a source file");
    let between = |text: &str, from: &str, to: &str| -> Vec<String> {
        let found = text.split(from).skip(1).filter_map(|rest| rest.split_once(to));
        found.map(|(inner, _)| inner.to_owned()).collect()
    };
    let host = between(&read("host/src/auth/mod.rs"), "Row { method: \"", ", run:");
    let host = host.iter().map(|row| row.replace("\", path: \"", " ").trim_end_matches('"').to_owned());
    let mfa = between(&read("plugin-mfa/src/routes/mod.rs"), "(Route::", "\",");
    let mfa = mfa.iter().filter_map(|route| {
        let (method, path) = route.split_once("(\"")?;
        Some(format!("{} /mfa{path}", method.to_uppercase()))
    });
    let code: BTreeSet<String> = host.chain(mfa).collect();
    let here: BTreeSet<String> = ROWS.iter().map(|row| row.name.to_owned()).collect();
    assert_eq!(here, code);
}

/// What every operation may refuse with, or its caller brings about: provoked for all rows at once, below and in
/// [`slugs`](crate::slugs).
const COMMON: [&str; 12] = [
    "400 malformed",
    "401 session-required",
    "403 mfa-required",
    "403 enrollment-required",
    "403 cross-site",
    "413 too-large",
    "415 unsupported-media-type",
    "421 host-not-allowed",
    "503 store-unavailable",
    "503 plugin-fault",
    "503 busy",
    "503 delivery-unavailable",
];

/// What is described and no case of a table provokes, with where it is seen.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    ("POST /register", "403 forbidden", "accounts: registration_that_is_closed_tells_nothing"),
    ("POST /email/verify", "403 forbidden", "the same, when it was closed between the sign-up and its link"),
    ("POST /register", "429 locked", "gate: whom_a_gate_refuses_is_turned_away_and_nothing_is_made_of_it"),
    (
        "POST /mfa/magic-link/verify",
        "429 locked",
        "the same way through `login::enter`; plugin-mfa refuses nobody",
    ),
    ("POST /mfa/magic-link/send", "404 not-found", "links, with links switched off"),
    ("GET /mfa/magic-link/verify", "404 not-found", "the same"),
    ("POST /mfa/magic-link/verify", "404 not-found", "the same"),
    ("POST /mfa/magic-link/verify", "303", "mailed_links, by the page's form"),
];

/// The tables of cases as they are written, with the names of rows in the place of constants.
fn cases() -> String {
    let files = fs::read_dir(root().join("tests/tests/contract")).expect("a folder");
    let named = |text: String| {
        let constants = text.lines().filter_map(|line| line.strip_prefix("const ")?.split_once(": &str = "));
        let constants = constants.filter(|(_, row)| row.contains(" /"));
        constants.fold(text.clone(), |text, (name, row)| {
            text.replace(&format!("({name}, "), &format!("({}, ", row.trim_end_matches(';')))
        })
    };
    let paths = files.map(|file| file.expect("a file").path()).filter(|path| !path.ends_with("rows.rs"));
    paths.map(|path| named(fs::read_to_string(path).expect("a text"))).collect()
}

/// The description has the rows of the contract, takes their examples, and promises no answer that nothing provokes.
#[test]
fn the_description_says_what_is_here_and_no_more() {
    let stage = Stage::new();
    let cases = cases();
    let description = stage.description();
    let mut described = BTreeSet::new();
    let mut unproven = Vec::new();
    for (method, path, operation) in description.operations() {
        let Some(path) = path.strip_prefix("/api/auth") else { continue };
        let name = format!("{method} {path}");
        let row = ROWS.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("{name} is no row"));
        if !operation["requestBody"].is_null() {
            let fields = Value::from(row.fields());
            assert_eq!(description.refuses(operation, &fields), None, "{name}");
            assert_eq!(operation["requestBody"]["required"] == false, row.is_optional(), "{name}");
        }
        assert_eq!(operation["security"][0] == json!({}), row.caller == Anybody, "{name}");
        let statuses = operation["responses"].as_object().expect("answers").keys();
        let answers = statuses.filter(|status| status.starts_with(['2', '3'])).cloned();
        for answer in answers.chain(description.problems(operation)) {
            let is_case = cases.contains(&format!("\"{name}\", \"{answer}\""));
            let is_elsewhere = ELSEWHERE.iter().any(|(row, known, _)| *row == name && *known == answer);
            if !is_case && !is_elsewhere && !COMMON.contains(&answer.as_str()) && row.caller != Admin {
                unproven.push(format!("{name}: {answer}"));
            }
        }
        described.insert(name);
    }
    assert_eq!(described, ROWS.iter().map(|row| row.name.to_owned()).collect());
    assert_eq!(unproven, Vec::<String>::new());
}

/// A problem that says that this caller may not, if the answer is one.
fn turned_away(reply: &Reply) -> Option<(u16, String)> {
    let about_callers = ["session-required", "mfa-required", "enrollment-required", "forbidden"];
    let slug = reply.problem().filter(|slug| about_callers.contains(&slug.as_str()))?;
    Some((reply.status, slug))
}

#[test]
fn who_may_call_what() {
    let stage = Stage::on(Site::with_store("memory").with_clock().with_mail().with("mfa.require", "all"));
    let mut forged = stage.program();
    forged.credentials = Credentials::Bearer(Some("A".repeat(86)));
    let mut chosen = stage.browser();
    chosen.credentials = Credentials::Cookies([("countersign".into(), "A".repeat(86))].into());
    let (must_enrol, _) = stage.somebody();
    let (content, user) = stage.enrolled();
    for row in ROWS.iter().filter(|row| !["POST /logout", "POST /register"].contains(&row.name)) {
        let session = |status, slug: &str| Some((status, slug.to_owned()));
        // A session that never was is none.
        for client in [&mut stage.browser(), &mut forged.clone(), &mut chosen.clone()] {
            let expected = (row.caller != Anybody).then(|| (401, "session-required".to_owned()));
            let got = turned_away(&row.ask(&stage, client));
            let asks_for_login = row.caller == Anybody && got == session(401, "session-required");
            assert!(got == expected || asks_for_login, "{} by nobody: {got:?}", row.name);
        }
        let expected = match row.caller {
            Anybody | AnySession => None,
            Standard | Content | Admin => session(403, "mfa-required"),
        };
        let got = turned_away(&row.ask(&stage, &mut stage.mfa_pending_session(&user)));
        assert_eq!(got, expected, "{} half signed in", row.name);
        let expected = match row.caller {
            Anybody | AnySession | Standard => None,
            Content => session(403, "enrollment-required"),
            // Not even that there is something to administer.
            Admin => session(403, "forbidden"),
        };
        let got = turned_away(&row.ask(&stage, &mut must_enrol.clone()));
        assert_eq!(got, expected, "{} before enrolling", row.name);
        let expected = (row.caller == Admin).then(|| (403, "forbidden".to_owned()));
        let by_mail = row.name.starts_with("POST /mfa/otp/");
        let got = turned_away(&row.ask(&stage, &mut content.clone()));
        assert!(got == expected || by_mail, "{} signed in: {got:?}", row.name);
    }
}

/// Somebody whom every row would serve: an administrator with a second factor proven just now.
fn anybody_at_all(stage: &Stage) -> Client {
    let mut root = stage.user_with_role("root@example.org", "admin");
    stage.setup_totp(&mut root)
}

#[test]
fn bodies_that_are_not_what_the_row_says_are_malformed() {
    let stage = Stage::new();
    let root = anybody_at_all(&stage);
    for row in ROWS.iter().filter(|row| row.has_body() && row.name != "POST /logout") {
        let fields = row.fields();
        let with = |name: &str, value: Value| {
            let mut fields = fields.clone();
            fields.insert(name.into(), value);
            Value::from(fields).to_string()
        };
        let mut bodies: Vec<String> =
            ["", "null", "[]", "1", "\"\"", "{", "{}}", "{\"a\":1,}", "{\"\\ud800\":1}", "\u{feff}{}"]
                .map(Into::into)
                .into();
        // No body is an empty object, which is malformed where a field is wanted.
        bodies.retain(|body| !body.is_empty() || !row.is_optional());
        bodies.push(with("surprise", 1.into()));
        bodies.push(with("surprise", (0..40).fold(NONE, |inner, _| vec![inner].into())));
        bodies.push(fields.values().cloned().collect::<Value>().to_string());
        for (name, value) in &fields {
            bodies.push(with(name, Value::from(vec![value.clone()])));
            bodies.push(with(name, 7.into()));
            // The first and the last say the same, and are two all the same.
            let once = Value::from(fields.clone()).to_string();
            bodies.push(format!("{},\"{name}\":{value}}}", once.trim_end_matches('}')));
        }
        for body in bodies {
            let reply = row.send(&mut root.clone(), &[JSON], &body);
            stage.described(row.name, &reply);
            assert_eq!(reply.problem().as_deref(), Some("malformed"), "{} {body:?}", row.name);
            reply.refused(400, "malformed");
        }
        let invalid = [b"{\"password\":\"".as_slice(), &[0xff, 0xfe], b"\"}"].concat();
        let (method, path) = row.parts();
        let reply = root.clone().send(method, &path, &[JSON], Some(&invalid)).expect("an answer");
        reply.refused(400, "malformed");
    }
}

#[test]
fn sizes_media_hosts_and_sites_are_asked_of_every_row() {
    let stage = Stage::new();
    let root = anybody_at_all(&stage);
    let own = format!("http://{}", stage.address());
    let own = ("origin", own.as_str());
    let (form, text) = ("application/x-www-form-urlencoded", "text/plain");
    let large = format!("{{\"surprise\":\"{}\"}}", "x".repeat(16 << 10));
    for row in ROWS {
        let ask = |headers: &[(&str, &str)], body: &str| {
            let reply = row.send(&mut root.clone(), headers, body);
            stage.described(row.name, &reply);
            reply
        };
        let (method, _) = row.parts();
        ask(&[JSON, ("host", "evil.example")], row.body).refused(421, "host-not-allowed");
        if row.has_body() {
            ask(&[JSON, own], &large).refused(413, "too-large");
            for media in [form, text, "multipart/form-data; boundary=x", "application/json; charset=latin1"] {
                // A sign-in link's page posts a form: the one that is let through.
                if (row.name, media) != ("POST /mfa/magic-link/verify", form) {
                    ask(&[("content-type", media), own], row.body).refused(415, "unsupported-media-type");
                }
            }
        }
        if method == "GET" {
            continue;
        }
        for headers in [
            &[JSON, ("origin", "https://evil.example")][..],
            &[JSON, ("origin", "null")],
            &[JSON, own, ("sec-fetch-site", "cross-site")],
            &[JSON, ("sec-fetch-site", "same-site")],
            &[("content-type", form)],
            &[("content-type", text)],
        ] {
            ask(headers, row.body).refused(403, "cross-site");
        }
    }
    // None of it did anything.
    root.clone().ask("GET /me", NONE).expect(200);
}

#[test]
fn methods_that_a_path_does_not_have_are_named() {
    let stage = Stage::new();
    let root = anybody_at_all(&stage);
    let paths: BTreeSet<String> = ROWS.iter().map(|row| row.parts().1).collect();
    for path in &paths {
        let has = |method: &str| ROWS.iter().any(|row| row.parts() == (method, path.clone()));
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
            if has(method) {
                continue;
            }
            let reply = root.clone().send(method, path, &[], None).expect("an answer");
            reply.refused(405, "method-not-allowed");
            let allow: BTreeSet<&str> = reply.header("allow").expect("Allow").split(", ").collect();
            let expected: BTreeSet<&str> = ["GET", "POST", "DELETE"].into_iter().filter(|m| has(m)).collect();
            assert_eq!(allow, expected, "{method} {path}");
        }
        if has("GET") {
            let whole = root.clone().send("GET", path, &[], None).expect("an answer");
            let head = root.clone().send("HEAD", path, &[], None).expect("an answer");
            assert_eq!((head.status, head.body.len()), (whole.status, 0), "{path}");
        }
    }
    for path in
        ["/api/auth", "/api/auth/", "/api/auth/nothing", "/api/auth/mfa", "/api/auth/me/", "/api/auth//me"]
    {
        root.clone().send("GET", path, &[], None).expect("an answer").refused(404, "not-found");
    }
}
