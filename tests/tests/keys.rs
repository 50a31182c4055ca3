//! No start on keys that are missing, weak, known or open to others, and none for development beyond loopback (R27).
use countersign_tests::Site;
use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    time::{Duration, Instant},
};

type Spoil = fn(&Site);

/// Replaces the first secret in the key file by that.
fn replace_secret(site: &Site, by: impl Fn(&str) -> String) {
    let file = site.path("keys.toml");
    let text = fs::read_to_string(&file).expect("keys");
    let secret = text.split("secret = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("a secret");
    fs::write(&file, text.replacen(secret, &by(secret), 1)).expect("keys");
}

const BAD: [(&str, Spoil, &str); 9] = [
    ("missing", |site| fs::remove_file(site.path("keys.toml")).expect("gone"), "there is no key file"),
    ("empty", |site| fs::write(site.path("keys.toml"), "").expect("written"), "keys.toml"),
    ("short", |site| replace_secret(site, |secret| secret[..40].to_owned()), "32 bytes"),
    ("all equal", |site| replace_secret(site, |secret| "A".repeat(secret.len())), "not random"),
    ("a word", |site| replace_secret(site, |_| "dev-secret".into()), "keys.toml"),
    ("readable for all", |site| mode(site, 0o644), "chmod 600"),
    ("readable for its group", |site| mode(site, 0o640), "chmod 600"),
    (
        "a link",
        |site| {
            fs::rename(site.path("keys.toml"), site.path("elsewhere.toml")).expect("moved");
            symlink(site.path("elsewhere.toml"), site.path("keys.toml")).expect("linked");
        },
        "keys.toml",
    ),
    (
        "twice the same",
        |site| {
            let file = site.path("keys.toml");
            let text = fs::read_to_string(&file).expect("keys");
            let secrets: Vec<&str> =
                text.split("secret = \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
            fs::write(&file, text.replace(secrets[1], secrets[0])).expect("keys");
        },
        "keys.toml",
    ),
];

fn mode(site: &Site, mode: u32) {
    fs::set_permissions(site.path("keys.toml"), Permissions::from_mode(mode)).expect("a mode");
}

#[test]
fn every_bad_key_file_stops_the_start_and_shows_no_key() {
    let site = Site::with_store("memory");
    let good = fs::read(site.path("keys.toml")).expect("keys");
    for (what, spoil, why) in BAD {
        spoil(&site);
        let began = Instant::now();
        let said = site.refuses();
        assert!(said.contains(why), "{what}: {said}");
        // The figure is two seconds, which a quiet machine keeps with ease; a busy one gets time to breathe.
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        let text = String::from_utf8_lossy(&good);
        let secrets = text.split("secret = \"").skip(1).filter_map(|rest| rest.split('"').next());
        secrets.for_each(|secret| assert!(!said.contains(secret), "{what} shows a key"));
        let _ = fs::remove_file(site.path("keys.toml"));
        fs::write(site.path("keys.toml"), &good).expect("keys");
        mode(&site, 0o600);
    }
    site.start().stop();
}

#[test]
fn development_is_for_loopback_alone_and_marked_in_every_answer() {
    let site = Site::with_store("memory");
    let own = site.address();
    site.set("listen", format!("0.0.0.0:{}", own.port()));
    let refused = site.run(&["serve", "--dev"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("loopback"));

    site.set("listen", own.to_string());
    let mut serve = site.command(&["serve", "--dev"]);
    let host = xtask::server::Server::start(&mut serve, own).expect("a host for development");
    for path in ["/healthz", "/api/auth/me", "/nothing"] {
        let reply = countersign_tests::Client::program(own).get(path).expect("an answer");
        let marked = reply.headers.iter().any(|(name, value)| format!("{name}{value}").contains("dev"));
        assert!(marked, "{path}: {:?}", reply.headers);
    }
    host.stop().expect("it stops");
    let host = site.start();
    let reply = host.program().get("/healthz").expect("an answer");
    assert!(!reply.headers.iter().any(|(name, value)| format!("{name}{value}").contains("dev")));
    host.stop();
}
