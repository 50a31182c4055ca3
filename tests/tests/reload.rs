//! Reloading a host that serves: what changes, what stays, what is refused, and that nobody notices.
use countersign_tests::{Artifacts, Client, Host, Site, User, api, damage::Damage, fixture};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    fmt::Write as _,
    fs::{self, Permissions},
    io::{BufRead, BufReader, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread::{self, sleep},
    time::{Duration, Instant},
};
use toml_edit::value;

/// `countersign reload`: its exit status, and what it says.
fn reload(site: &Site) -> (Option<i32>, String) {
    let output = site.run(&["reload"]);
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[track_caller]
fn reloaded(site: &Site) -> String {
    let (status, said) = reload(site);
    assert_eq!(status, Some(0), "{said}");
    said
}

/// Puts bytes in the place of a plugin's library, pinned.
fn replace(site: &Site, plugin: &str, name: &str, bytes: &[u8]) {
    let placed = site.path("plugins").join(name);
    fs::write(&placed, bytes).expect("the plugin directory can be written");
    fs::set_permissions(&placed, Permissions::from_mode(0o644)).expect("its mode can be set");
    let pin = Sha256::digest(bytes).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    site.edit(|config| {
        let entries = config["plugin"].as_array_of_tables_mut().expect("[[plugin]]");
        let is_it = |file: Option<&str>| file.is_some_and(|file| file.contains(&plugin.replace('-', "_")));
        let entry = entries.iter_mut().find(|entry| is_it(entry["file"].as_str())).expect("its entry");
        entry["file"] = value(name);
        entry["sha256"] = value(pin);
    });
}

/// Another build of a plugin, as far as a host can tell: what stands behind the end of an ELF file is not loaded.
fn another_build(site: &Site, plugin: &str, number: usize) {
    let mut bytes = fs::read(Artifacts::get().plugin(plugin)).expect("a library");
    bytes.extend_from_slice(format!("build {number}").as_bytes());
    replace(site, plugin, &format!("lib{}-{number}.so", plugin.replace('-', "_")), &bytes);
}

/// The answer to somebody who signs up with that password.
fn sign_up(host: &Host, password: &str) -> u16 {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let email = format!("somebody{}@example.org", NEXT.fetch_add(1, Relaxed));
    let body = json!({ "email": email, "password": password });
    host.browser().post(&api("/register"), &body).expect("an answer").status
}

#[test]
fn settings_libraries_and_keys_are_taken_over_and_sessions_stay() {
    let host = Site::with_store("sqlite").with_clock().start();
    let site = host.site();
    let mut ann = host.user_fixture("ann@example.org");
    let mut browser = host.setup_totp(&mut ann);
    assert_eq!(reloaded(site).trim(), "reloaded", "nothing has changed");

    let short = "staple battery horse correct";
    let long = short.repeat(4);
    assert_eq!(sign_up(&host, short), 201);
    site.set("mfa.password.min_length", 64);
    assert_eq!(sign_up(&host, short), 201, "not before it is reloaded");
    assert!(reloaded(site).contains("new or changed: mfa"));
    assert_eq!(sign_up(&host, short), 422);

    another_build(site, "plugin-mfa", 1);
    assert!(reloaded(site).contains("new or changed: mfa"));
    site.set("registration", "closed");
    reloaded(site);
    assert_eq!(sign_up(&host, &long), 403);
    browser.ask("GET /me", Value::Null).expect(200);
    host.complete_mfa(&mut browser, &ann);
    host.signed_in(&ann);

    // SIGHUP does the same.
    site.set("registration", "open");
    host.server().signal(rustix::process::Signal::HUP).expect("a signal");
    let until = Instant::now() + Duration::from_secs(20);
    while sign_up(&host, &long) == 403 {
        assert!(Instant::now() < until, "{}", host.log());
        sleep(Duration::from_millis(20));
    }
    let site = host.stop();
    let (status, said) = reload(&site);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("no host runs"), "{said}");
}

/// Pages are put together when the plugins are there already: by then the keys must not have changed.
#[test]
fn a_reload_that_pages_refuse_leaves_the_keys() {
    let host = Site::with_store("sqlite").with_clock().start();
    let site = host.site();
    let mut ann = host.user_fixture("ann@example.org");
    host.setup_totp(&mut ann);
    let former = fs::read(site.path("keys.toml")).expect("keys");
    assert!(site.run(&["keys", "rotate"]).status.success());
    let newest = fs::read(site.path("keys.toml")).expect("keys");
    let status = format!("GET /mfa/challenge/status?challenge={}", host.mfa_pending_challenge(&ann));
    host.program().ask(&status, Value::Null).expect(200);

    fs::write(site.path("keys.toml"), &former).expect("keys");
    site.set("pages.logo", "nowhere.png");
    let (code, said) = reload(site);
    assert!(code == Some(2) && said.contains("nowhere.png"), "{said}");
    host.program().ask(&status, Value::Null).expect(200);

    // And a reload that nothing refuses takes them over.
    site.edit(|config| drop(config.remove("pages")));
    reloaded(site);
    host.program().ask(&status, Value::Null).refused(401, "challenge-invalid");
    fs::write(site.path("keys.toml"), &newest).expect("keys");
    reloaded(site);
    host.program().ask(&status, Value::Null).expect(200);
}

/// What a reload refuses, and a part of what it says. Whatever it is, the host goes on as it was.
#[test]
fn whatever_is_wrong_the_old_host_serves_on_and_says_why() {
    type Change = Box<dyn Fn(&Site)>;
    let damaged = |damage: Damage| -> Change {
        Box::new(move |site| {
            let broken = site.path("broken.so");
            damage.inflict(&Artifacts::get().plugin("plugin-mfa"), &broken);
            replace(site, "plugin-mfa", "libplugin_mfa-broken.so", &fs::read(broken).expect("a file"));
        })
    };
    let with = |name: &'static str| -> Change { Box::new(move |site| site.add_plugin(&fixture(name))) };
    let set = |path: &'static str, setting: &'static str| -> Change {
        Box::new(move |site| site.set(path, setting))
    };
    // Where the data directory is another, the command finds no host to ask: that is for SIGHUP, below.
    let wrong: Vec<(Change, &str)> = vec![
        (damaged(Damage::CutInHalf), "libplugin_mfa-broken.so"),
        (damaged(Damage::Text), "libplugin_mfa-broken.so"),
        (damaged(Damage::OtherMachine), "libplugin_mfa-broken.so"),
        (with("panics-in-register"), "panicked while registering"),
        (with("wrong-layout"), "does not fit this host"),
        (with("wrong-abi"), "built for interface 9.0.0"),
        (
            Box::new(|site| {
                another_build(site, "plugin-mfa", 1);
                fs::write(site.path("plugins/libplugin_mfa-1.so"), "another").expect("a file");
            }),
            "the configuration pins",
        ),
        (set("mfa.lockout.treshold", "5"), "treshold"),
        (set("colour", "blue"), "colour"),
        (set("listen", "127.0.0.1:1"), "a running host keeps its address"),
        (set("store.use", "memory"), "a running host keeps its store, which is `sqlite`"),
        (set("store.sqlite.path", "data/other.db"), "a running host keeps its store as it was set up"),
        (Box::new(|site| another_build(site, "store-sqlite", 1)), "this is another store-sqlite"),
        (
            Box::new(|site| {
                site.edit(|config| {
                    let entries = config["plugin"].as_array_of_tables_mut().expect("[[plugin]]");
                    entries.retain(|entry| entry["file"].as_str().is_none_or(|file| !file.contains("mfa")));
                    config.remove("mfa");
                });
            }),
            "this store's logins are gated by the plugin `mfa`",
        ),
        (
            Box::new(|site| {
                let other = Site::new();
                fs::copy(other.path("keys.toml"), site.path("keys.toml")).expect("other keys");
            }),
            "the keys that the store needs",
        ),
        (Box::new(|site| fs::write(site.config(), "listen = ").expect("a file")), "countersign.toml"),
    ];

    let host = Site::with_store("sqlite").with_clock().start();
    let site = host.site();
    let mut ann = host.user_fixture("ann@example.org");
    let mut browser = host.setup_totp(&mut ann);
    let good = [site.config(), site.path("keys.toml")].map(|file| (fs::read(&file).expect("a file"), file));
    for (change, sentence) in &wrong {
        change(site);
        let (status, said) = reload(site);
        assert_eq!(status, Some(2), "{sentence}: {said}");
        assert!(said.contains(sentence), "{sentence}: {said}");
        for (bytes, file) in &good {
            fs::write(file, bytes).expect("a file");
        }
        browser.ask("GET /me", Value::Null).expect(200);
        assert_eq!(reloaded(site).trim(), "reloaded", "after {sentence}: nothing had changed");
    }
    site.set("data_dir", "elsewhere");
    host.server().signal(rustix::process::Signal::HUP).expect("a signal");
    let until = Instant::now() + Duration::from_secs(20);
    while !host.log().contains("a running host keeps its data directory") {
        assert!(Instant::now() < until, "{}", host.log());
        sleep(Duration::from_millis(20));
    }
    fs::write(&good[0].1, &good[0].0).expect("a file");
    assert!(host.log().contains("not reloaded"), "{}", host.log());
    host.complete_mfa(&mut browser, &ann);
    host.signed_in(&ann);
    host.stop();
}

#[test]
fn a_store_in_memory_keeps_what_it_holds() {
    let host = Site::with_store("memory").with_clock().start();
    let site = host.site();
    let mut ann = host.user_fixture("ann@example.org");
    let mut browser = host.setup_totp(&mut ann);
    another_build(site, "plugin-mfa", 1);
    reloaded(site);
    browser.ask("GET /me", Value::Null).expect(200);
    host.complete_mfa(&mut browser, &ann);
    site.set("store.memory.max_records", 7);
    let (status, said) = reload(site);
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("[store.memory]") || said.contains("store.memory"), "{said}");
    browser.ask("GET /me", Value::Null).expect(200);
}

/// People who sign in, prove themselves and look at their sessions, until they are told to stop. Counts what they
/// did; anything but the right answer ends the test.
struct Crowd<'h> {
    host: &'h Host,
    stop: AtomicBool,
    looks: AtomicUsize,
    logins: AtomicUsize,
}

/// Logins of a round, one for each of these.
const PEOPLE: usize = 3;

impl<'h> Crowd<'h> {
    fn new(host: &'h Host) -> Self {
        Self { host, stop: AtomicBool::new(false), looks: AtomicUsize::new(0), logins: AtomicUsize::new(0) }
    }

    fn look(&self, mut browser: Client) {
        while !self.stop.load(Relaxed) {
            browser.ask("GET /me", Value::Null).expect(200);
            browser.ask("GET /session", Value::Null).expect(200);
            self.looks.fetch_add(2, Relaxed);
            // The machine has others to serve; what is tested is that no look fails, not how many there are.
            sleep(Duration::from_millis(5));
        }
    }

    fn login(&self, user: &User) {
        let mut browser = self.host.mfa_pending_session(user);
        let proof = json!({ "code": self.host.shown_code(user) });
        browser.ask("POST /mfa/totp/verify", proof).expect(200);
        browser.ask("GET /me", Value::Null).expect(200);
        browser.ask("POST /logout", json!({})).expect(204);
        self.logins.fetch_add(1, Relaxed);
    }

    /// `rounds` times: everybody logs in once while `act` is done. In between the clock moves on, since no code is
    /// good twice.
    fn live(&self, people: &[User], looking: Vec<Client>, rounds: usize, act: impl Fn(usize)) {
        thread::scope(|all| {
            let looking: Vec<_> =
                looking.into_iter().map(|browser| all.spawn(|| self.look(browser))).collect();
            for round in 0..rounds {
                self.host.site().clock().advance(Duration::from_secs(30));
                let logins: Vec<_> = people.iter().map(|user| all.spawn(|| self.login(user))).collect();
                act(round);
                let went: Vec<_> = logins.into_iter().map(thread::ScopedJoinHandle::join).collect();
                if went.iter().any(Result::is_err) {
                    self.stop.store(true, Relaxed);
                }
                assert!(
                    went.iter().all(Result::is_ok),
                    "a login failed in round {round}\n{}",
                    self.host.log()
                );
            }
            self.stop.store(true, Relaxed);
            for look in looking {
                assert!(look.join().is_ok(), "a request failed\n{}", self.host.log());
            }
        });
    }
}

fn people(host: &Host) -> (Vec<User>, Vec<Client>) {
    (0..PEOPLE)
        .map(|at| {
            let mut user = host.user_fixture(&format!("user{at}@example.org"));
            let browser = host.setup_totp(&mut user);
            (user, browser)
        })
        .unzip()
}

#[test]
fn under_load_no_reload_fails_a_request() {
    let host = Site::with_store("sqlite").with_clock().start();
    let site = host.site();
    let (people, looking) = people(&host);
    let good = fs::read(site.config()).expect("a file");
    let crowd = Crowd::new(&host);
    crowd.live(&people, looking, 12, |round| match round % 4 {
        0 => {
            another_build(site, "plugin-mfa", round);
            assert!(reloaded(site).contains("mfa"));
        }
        1 => {
            let before = fs::read(site.config()).expect("a file");
            site.add_plugin(&fixture("panics-in-register"));
            let (status, said) = reload(site);
            assert_eq!(status, Some(2), "{said}");
            assert!(said.contains("panicked while registering"), "{said}");
            fs::write(site.config(), before).expect("a file");
        }
        2 => {
            site.set("mfa.challenge_ttl", format!("{}s", 200 + round));
            assert!(reloaded(site).contains("mfa"));
        }
        _ => {
            fs::write(site.config(), &good).expect("a file");
            reloaded(site);
        }
    });
    let (logins, looks) = (crowd.logins.into_inner(), crowd.looks.into_inner());
    assert_eq!(logins, 12 * PEOPLE);
    assert!(looks >= 24, "only {looks} looks");
}

/// R28: ten rotations under load fail no login, and a retired key is refused.
#[test]
fn under_load_no_rotation_of_keys_fails_a_login_and_a_retired_key_is_refused() {
    let host = Site::with_store("sqlite").with_clock().start();
    let site = host.site();
    let (people, looking) = people(&host);
    let active = || {
        let output = site.run(&["keys", "list", "--json"]);
        let listed: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let keys = listed["keys"].as_array().expect("keys").clone();
        let signs = |key: &&Value| key["role"] == "token" && key["state"] == "active";
        keys.iter().find(signs).expect("a key that signs")["kid"].as_str().expect("a kid").to_owned()
    };
    let first = active();
    let old = host.mfa_pending_challenge(&people[0]);
    let crowd = Crowd::new(&host);
    crowd.live(&people, looking, 10, |_| {
        let output = site.run(&["keys", "rotate"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    });
    assert_eq!(crowd.logins.into_inner(), 10 * PEOPLE);
    assert_ne!(active(), first);

    // The clock has moved by five minutes at most since the old one signed; it is good for them.
    let retire = || site.run(&["keys", "retire", &first]);
    assert_eq!(retire().status.code(), Some(1), "a token of it may live");
    site.clock().advance(Duration::from_hours(1));
    let retired = retire();
    assert!(retired.status.success(), "{}", String::from_utf8_lossy(&retired.stderr));
    let proof = json!({ "code": host.generate_totp_code(&people[0]), "challenge": old });
    let reply = host.program().ask("POST /mfa/totp/verify", proof);
    assert!([400, 401, 403, 410].contains(&reply.status), "{}: {}", reply.status, reply.text());
    host.signed_in(&people[0]);
}

/// What the command line says to a host, without a process for it.
fn control(site: &Site, request: &str) -> Value {
    let mut socket = UnixStream::connect(site.path("data/control.sock")).expect("a host");
    writeln!(socket, "{request}").expect("a request");
    let mut answer = String::new();
    BufReader::new(socket).read_line(&mut answer).expect("an answer");
    serde_json::from_str(&answer).expect("JSON")
}

/// The kilobytes that a process holds.
fn resident(pid: u32) -> u64 {
    let status =
        fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).expect("a process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse().ok()).expect("a number")
}

/// A reload keeps nothing of the host before, beyond libraries that are new.
#[test]
fn two_hundred_reloads_leave_nothing_behind() {
    // Memory that is free again is what malloc keeps for each thread, and once something large was free also what is
    // large: libraries are read whole before they are opened. With one arena for all, and without that, it hides no leak.
    let site = Site::with_store("sqlite").with_variable("MALLOC_ARENA_MAX", "1");
    let host = site.with_variable("MALLOC_MMAP_THRESHOLD_", "131072").start();
    let site = host.site();
    let pid = host.server().id();
    // Settings change each time, so that the plugin is made anew each time.
    let reload_with = |number: usize| {
        site.set("mfa.challenge_ttl", format!("{}s", 100 + number % 100));
        let answer = control(site, r#"{"operation":"reload"}"#);
        assert_eq!(answer, json!({ "done": { "changed": ["mfa"], "removed": [] } }));
    };
    (0..10).for_each(reload_with);
    let before = resident(pid);
    (10..210).for_each(reload_with);
    let grown = resident(pid).saturating_sub(before);
    // A host that is kept is 300 KiB and more, most of it the plugin's list of common passwords.
    assert!(grown < 200 * 20, "{grown} KiB more after 200 reloads");
}
