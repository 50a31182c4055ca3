//! Administration on the command line: the same through a host that runs and on the store without one.
use countersign_tests::{Client, Host, NONE, PASSWORD, Reply, Site, at_terminal, oathtool};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader},
    process::Stdio,
    time::Duration,
};

const NEW_PASSWORD: &str = "staple battery horse correct";
const ANN: &str = "ann@example.org";
/// The key of RFC 6238, appendix B.
const KEY: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

/// What a command that must fail complains about.
#[track_caller]
fn refused(site: &Site, words: &[&str], stdin: &str, status: i32) -> String {
    let output = site.feed(words, stdin);
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{words:?}: {complaint}");
    complaint
}

fn add(site: &Site, email: &str) -> String {
    let made = site.json(&["user", "add", email, "--password-stdin"], PASSWORD);
    made["id"].as_str().expect("an id").to_owned()
}

fn events(site: &Site, words: &[&str]) -> Vec<Value> {
    let output = site.feed(&[&["audit", "tail", "--json"], words].concat(), "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().expect("a name")).collect()
}

fn login(host: &Host, password: &str) -> (Client, Reply) {
    let mut client = host.browser();
    let reply = client.ask("POST /login", json!({ "email": ANN, "password": password }));
    (client, reply)
}

fn status(client: &mut Client, path: &str) -> u16 {
    client.ask(&format!("GET {path}"), NONE).status
}

fn enrol(host: &Host, client: &mut Client) -> String {
    let enrolment = client.ask("POST /mfa/totp/enroll", json!({ "label": "phone" })).expect(201);
    let secret = enrolment["secret"].as_str().expect("a secret").to_owned();
    let code = oathtool(&secret, host.site().clock().now());
    let body = json!({ "code": code, "enrollment": enrolment["enrollment"] });
    client.ask("POST /mfa/totp/verify", body).expect(200);
    secret
}

#[test]
fn what_is_shown_is_the_same_with_a_host_and_without() {
    let site = Site::with_store("sqlite").with_clock();
    let id = add(&site, ANN);
    let host = site.start();
    let (mut ann, _) = login(&host, PASSWORD);
    enrol(&host, &mut ann);
    let site = host.site();
    let ask = |site: &Site| {
        [
            site.json(&["user", "list"], ""),
            site.json(&["user", "show", ANN], ""),
            site.json(&["user", "show", &id], ""),
            site.json(&["mfa", "status", "ANN@example.org"], ""),
            events(site, &[]).into(),
        ]
    };
    let with = ask(site);
    assert_eq!(with[1]["user"]["id"], id.as_str());
    assert_eq!(with[1]["sessions"].as_array().map(Vec::len), Some(1));
    assert_eq!(with[3]["mfa"]["factors"][0]["label"], "phone");
    let text = site.feed(&["user", "show", ANN], "");
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains(ANN) && text.contains("phone") && text.contains("sessions 1"), "{text}");
    let unknown = refused(site, &["user", "show", "nobody@example.org"], "", 1);
    assert!(unknown.contains("nobody@example.org"), "{unknown}");
    let site = host.stop();
    assert_eq!(ask(&site), with);
    assert_eq!(refused(&site, &["user", "show", "nobody@example.org"], "", 1), unknown);
}

/// What is done to an account, once through a host and once without: what is left to see is the same.
#[test]
fn roles_passwords_and_accounts_change_with_a_host_and_without() {
    for through_host in [true, false] {
        let site = Site::with_store("sqlite").with_clock();
        add(&site, ANN);
        let host = site.start();
        let (mut ann, reply) = login(&host, PASSWORD);
        assert_eq!(reply.status, 200);
        let secret = enrol(&host, &mut ann);
        let pause = |host: Host, act: &dyn Fn(&Site)| {
            if through_host {
                act(host.site());
                return host;
            }
            let site = host.stop();
            act(&site);
            site.start()
        };

        let host = pause(host, &|site| {
            let changed = site.json(&["user", "set-role", ANN, "editor"], "");
            assert_eq!((&changed["email"], &changed["role"]), (&json!(ANN), &json!("editor")));
            let said = refused(site, &["user", "set-role", ANN, "Editor"], "", 1);
            assert!(said.contains("is not a role"), "{said}");
        });
        assert_eq!(ann.ask("GET /me", NONE).json()["user"]["role"], "editor");

        let host = pause(host, &|site| {
            let words = ["user", "set-password", ANN, "--password-stdin"];
            assert!(refused(site, &words, "short", 1).contains("too-short"));
            assert!(refused(site, &words, "", 2).contains("no password"));
            site.json(&words, NEW_PASSWORD);
        });
        assert_eq!(status(&mut ann, "/me"), 401);
        assert_eq!(login(&host, PASSWORD).1.status, 401);
        let (mut ann, reply) = login(&host, NEW_PASSWORD);
        assert_eq!(reply.status, 202, "the factor stays");
        host.site().clock().advance(Duration::from_secs(30));
        let code = oathtool(&secret, host.site().clock().now());
        assert_eq!(ann.ask("POST /mfa/totp/verify", json!({ "code": code })).status, 200);

        let host = pause(host, &|site| {
            let said = refused(site, &["user", "delete", ANN], "yes\n", 2);
            assert!(said.contains("--yes"), "{said}");
            assert_eq!(site.json(&["user", "delete", ANN, "--yes"], "")["email"], ANN);
            assert!(refused(site, &["user", "show", ANN], "", 1).contains(ANN));
            assert!(refused(site, &["user", "delete", ANN, "--yes"], "", 1).contains(ANN));
        });
        assert_eq!(status(&mut ann, "/me"), 401);
        assert_eq!(login(&host, NEW_PASSWORD).1.status, 401);
        assert_eq!(host.site().json(&["user", "list"], "")["users"], json!([]));
        // The address is free, and whoever takes it has nothing of hers.
        add(host.site(), ANN);
        let (mut other, reply) = login(&host, PASSWORD);
        assert_eq!(reply.status, 200);
        let own = other.ask("GET /mfa/status", NONE).json();
        assert_eq!(own["factors"], json!([]));

        let all = events(host.site(), &["--since", "1d"]);
        let acts: Vec<&Value> = all.iter().filter(|event| event["actor"] == "cli").collect();
        let expected = ["account.created", "account.role-set", "password.set", "account.deleted"];
        for name in expected {
            let count = acts.iter().filter(|event| event["event"] == name).count();
            assert_eq!(count, if name == "account.created" { 2 } else { 1 }, "{name}: {acts:?}");
        }
        assert!(!format!("{all:?}").contains("battery"));
        host.stop();
    }
}

#[test]
fn second_factors_are_reset_and_unlocked_with_a_host_and_without() {
    for through_host in [true, false] {
        let site = Site::with_store("sqlite").with_clock();
        let id = add(&site, ANN);
        let host = site.start();
        let (mut ann, _) = login(&host, PASSWORD);
        let secret = enrol(&host, &mut ann);
        let (mut guesser, _) = login(&host, PASSWORD);
        host.site().clock().advance(Duration::from_secs(30));
        let right: u32 = oathtool(&secret, host.site().clock().now()).parse().expect("digits");
        let wrong = json!({ "code": format!("{:06}", (right + 500_000) % 1_000_000) });
        for _ in 0..5 {
            assert_eq!(guesser.ask("POST /mfa/totp/verify", &wrong).status, 401);
        }
        let locked = host.site().json(&["mfa", "status", ANN], "");
        assert!(locked["mfa"]["locked_until"].is_string(), "{locked}");
        let act = |site: &Site| {
            assert_eq!(site.json(&["mfa", "unlock", ANN], "")["user"]["id"], id.as_str());
            let status = site.json(&["mfa", "status", ANN], "");
            assert_eq!(status["mfa"]["locked_until"], Value::Null, "{status}");
            assert_eq!(status["mfa"]["enabled"], true);
            site.json(&["mfa", "reset", ANN], "");
            let status = site.json(&["mfa", "status", ANN], "");
            assert_eq!((&status["mfa"]["enabled"], &status["mfa"]["factors"]), (&json!(false), &json!([])));
            let recorded = events(site, &["--account", ANN]);
            for name in ["account.unlocked", "mfa.reset"] {
                let event = recorded.iter().find(|event| event["event"] == name);
                let event = event.unwrap_or_else(|| panic!("{name}: {:?}", names(&recorded)));
                assert_eq!((&event["actor"], &event["subject"]), (&json!("cli"), &json!(id)));
            }
        };
        let host = if through_host {
            act(host.site());
            host
        } else {
            let site = host.stop();
            act(&site);
            site.start()
        };
        assert_eq!(status(&mut ann, "/me"), 401);
        assert_eq!(login(&host, PASSWORD).1.status, 200);
        host.stop();
    }
}

#[test]
fn factors_of_another_system_are_taken_over_line_by_line() {
    let site = Site::with_store("sqlite").with_clock();
    add(&site, ANN);
    add(&site, "bob@example.org");
    let file = site.path("factors.txt");
    let lines = format!(
        "# exported\n\n{ANN} otpauth://totp/Old:ann?secret={KEY}&issuer=Old\n\
         otpauth://totp/Old:bob%40example.org?secret={KEY}\n\
         carol@example.org otpauth://totp/Old:carol?secret={KEY}\n\
         {ANN} otpauth://totp/Old:ann?secret={KEY}&digits=8\n\
         {ANN} otpauth://hotp/Old:ann?secret={KEY}&counter=1\n\
         {ANN} otpauth://totp/Old:ann?secret=1!\n\
         nonsense {KEY}\n"
    );
    fs::write(&file, lines).expect("a file");
    let file = file.to_str().expect("a path");

    let output = site.feed(&["mfa", "import", file, "--json"], "");
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let sum: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(sum["imported"], 2, "{sum}");
    let failed: Vec<u64> =
        sum["failed"].as_array().expect("lines").iter().filter_map(|l| l["line"].as_u64()).collect();
    assert_eq!(failed, [5, 6, 7, 8, 9]);
    assert!(
        sum["failed"][0]["reason"].as_str().is_some_and(|reason| reason.contains("carol@example.org")),
        "{sum}"
    );
    for text in [&output.stdout, &output.stderr] {
        assert!(!String::from_utf8_lossy(text).contains(KEY));
    }
    let again = site.feed(&["mfa", "import", file, "--json"], "");
    let sum: Value = serde_json::from_slice(&again.stdout).expect("JSON");
    assert_eq!((&sum["imported"], &sum["present"]), (&Value::from(0), &Value::from(2)), "{sum}");
    let only = format!("{ANN} otpauth://totp/Old:ann?secret={KEY}&digits=8\n");
    let output = site.feed(&["mfa", "import", "-"], &only);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.starts_with("-:1: ") && text.ends_with("imported 0, already there 0, failed 1\n"), "{text}");
    assert!(refused(&site, &["mfa", "import", "no-such-file"], "", 2).contains("no-such-file"));

    // What was taken over signs in, but not with a code that the other system may have seen.
    let host = site.start();
    let code = |host: &Host| json!({ "code": oathtool(KEY, host.site().clock().now()) });
    let (mut ann, reply) = login(&host, PASSWORD);
    assert_eq!(reply.status, 202);
    assert_eq!(ann.ask("POST /mfa/totp/verify", code(&host)).status, 401);
    host.site().clock().advance(Duration::from_secs(90));
    assert_eq!(ann.ask("POST /mfa/totp/verify", code(&host)).status, 200);
    let imported = events(host.site(), &["--since", "1h", "--account", ANN]);
    assert!(
        imported.iter().any(|event| event["actor"] == "cli" && event["event"] == "mfa.totp.imported"),
        "{:?}",
        names(&imported)
    );
    host.stop();
}

/// Who watches at a terminal sees each line counted; who redirects, and a program, see nothing of it.
#[test]
fn an_import_shows_how_far_it_is_to_whoever_watches() {
    let site = Site::with_store("sqlite").with_clock();
    add(&site, ANN);
    let file = site.path("factors.txt");
    let lines = format!("{ANN} otpauth://totp/Old:ann?secret={KEY}\n# a remark\nnonsense\nnonsense\n");
    fs::write(&file, lines).expect("a file");
    let words = ["mfa", "import", file.to_str().expect("a path")];
    let seen = at_terminal(&site.command(&words));
    let at = |text: &str| seen.find(text).unwrap_or_else(|| panic!("{text:?} in {seen:?}"));
    assert!(
        at("\r\u{1b}[K1 of 3 lines") < at("2 of 3 lines") && at("2 of 3 lines") < at("3 of 3 lines"),
        "{seen:?}"
    );
    // Wiped away before the sum.
    assert!(at("3 of 3 lines\r\u{1b}[K") < at("imported 1, already there 0, failed 2"), "{seen:?}");
    assert!(!at_terminal(&site.command(&[&words[..], &["--json"]].concat())).contains("of 3 lines"));
    assert!(!refused(&site, &words, "", 1).contains("of 3 lines"));
}

#[test]
fn the_record_is_tailed_filtered_and_followed() {
    let site = Site::with_store("sqlite").with_clock();
    let alone = refused(&site, &["audit", "tail", "--follow"], "", 1);
    assert!(alone.contains("no host runs"), "{alone}");
    assert!(refused(&site, &["audit", "tail", "--since", "yesterday"], "", 2).contains("yesterday"));
    let ann = add(&site, ANN);
    site.clock().advance(Duration::from_hours(2));
    add(&site, "bob@example.org");
    let host = site.start();
    let site = host.site();
    assert_eq!(names(&events(site, &[])), ["account.created", "account.created"]);
    assert_eq!(events(site, &["-n", "1"])[0]["subject"], events(site, &["--since", "1h"])[0]["subject"]);
    assert_eq!(events(site, &["--since", "1h"]).len(), 1);
    assert_eq!(events(site, &["--since", "3h", "-n", "5"]).len(), 2);
    assert_eq!(events(site, &["--account", ANN])[0]["subject"], ann.as_str());
    assert_eq!(events(site, &["--account", ANN]), events(site, &["--account", &ann]));
    let at = events(site, &["-n", "1"])[0]["at"].as_str().expect("a time").to_owned();
    assert_eq!(events(site, &["--since", &at]).len(), 1);
    let text = site.feed(&["audit", "tail"], "");
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains(&format!(" account.created of {ann} by cli role=\"user\"\n")), "{text}");

    let mut tail = site.command(&["audit", "tail", "--follow", "--json", "--account", ANN]);
    let mut tail = tail.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary starts");
    let mut lines = BufReader::new(tail.stdout.take().expect("a pipe")).lines();
    let mut next = || {
        let line = lines.next().expect("a line").expect("text");
        serde_json::from_str::<Value>(&line).expect("an object")["event"].as_str().expect("a name").to_owned()
    };
    assert_eq!(next(), "account.created");
    let (mut ann, _) = login(&host, PASSWORD);
    assert_eq!(next(), "login.succeeded");
    assert_eq!(ann.ask("POST /logout", json!({})).status, 204);
    assert_eq!(next(), "logout");
    host.stop();
    // Not a reader that waits for ever.
    assert_eq!(tail.wait().expect("it ends").code(), Some(1));
}

#[test]
fn a_store_that_forgets_is_only_worked_on_through_its_host() {
    let site = Site::with_store("memory");
    for words in [&["user", "delete", ANN, "--yes"][..], &["mfa", "reset", ANN], &["audit", "tail"]] {
        let said = refused(&site, words, "", 1);
        assert!(said.contains("start it first"), "{said}");
    }
    let host = site.start();
    add(host.site(), ANN);
    assert_eq!(names(&events(host.site(), &[])), ["account.created"]);
    host.stop();
}
