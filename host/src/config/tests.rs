//! Files that are not read, and objections as plugins make them.
use super::{
    Config, LogConfig, Problem, Registration,
    golden::{Folder, env, examined},
};
use serde::Deserialize;
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    time::Duration,
};

const LEAST: &str = "[store]\nuse = \"memory\"\n";

fn refusal(folder: &Folder) -> String {
    let refused = Config::load(&folder.0.join("c.toml")).err().expect("a refusal");
    refused.to_string().replace(&format!("{}/", folder.0.display()), "")
}

#[test]
fn defaults_are_closed_and_paths_start_from_the_file() {
    let folder = Folder::new();
    let config = Config::load(&folder.file("c.toml", LEAST)).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!((config.listen.to_string().as_str(), config.store.as_str()), ("127.0.0.1:8080", "memory"));
    assert_eq!(config.public_url.origin(), "http://127.0.0.1:8080");
    assert_eq!(config.registration, Registration::Closed);
    assert_eq!(config.data_dir, folder.0.join("data"));
    assert_eq!(config.plugin_dir, folder.0.join("plugins"));
    assert_eq!(config.keys_file, folder.0.join("keys.toml"));
    assert_eq!(config.folder(), folder.0);
    assert_eq!(config.session.idle_ttl, Duration::from_mins(30));
    assert_eq!(config.session.absolute_ttl, Duration::from_hours(12));
    assert_eq!((config.password.memory_kib, config.password.iterations), (19 * 1024, 2));
    assert_eq!((config.password.parallelism, config.password.max_concurrent_hashes), (1, 2));
    assert_eq!(config.log, LogConfig { format: None, level: "info".into() });
    assert!(config.plugins.is_empty() && config.trusted_proxies.is_empty() && config.delivery.is_none());
}

#[test]
fn what_a_plugin_is_handed_is_a_table() {
    for text in ["mfa = 3\n", "mfa = \"x\"\n", "mfa = []\n", "mfa = { env = \"SMTP_PASSWORD\" }\n"] {
        let (config, _) = examined(&format!("{text}{LEAST}"));
        let said = config.expect("a configuration").plugin_table("mfa").expect_err("a problem").to_string();
        assert!(said.contains("must be a table"), "{text}: {said}");
    }
}

#[test]
fn a_path_that_climbs_leads_to_the_same_folder() {
    let folder = Folder::new();
    folder.file("c.toml", LEAST);
    std::fs::create_dir(folder.0.join("below")).expect("a folder of our own");
    let config =
        Config::load(&folder.0.join("below/../c.toml")).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.plugin_dir, std::fs::canonicalize(&folder.0).expect("it exists").join("plugins"));
}

#[test]
fn a_session_is_idle_no_longer_than_it_lives() {
    for (table, idle, problems) in [
        ("absolute_ttl = \"10m\"", 10, 0),
        ("idle_ttl = \"13h\"", 12 * 60, 1),
        ("idle_ttl = \"12h\"", 12 * 60, 0),
        ("idle_ttl = \"2d\"\nabsolute_ttl = \"7d\"", 2 * 24 * 60, 0),
        // One slip, one problem.
        ("idle_ttl = \"2d\"\nabsolute_ttl = \"a week\"\n", 12 * 60, 1),
    ] {
        let (config, found) = examined(&format!("{LEAST}[session]\n{table}"));
        assert_eq!(found.len(), problems, "{found}");
        assert_eq!(config.expect("a table").session.idle_ttl, Duration::from_mins(idle), "{table}");
    }
}

#[test]
fn an_entry_is_required_unless_it_says_otherwise_and_keeps_its_pin() {
    let pin = "ab".repeat(32);
    let text = format!(
        "{LEAST}[[plugin]]\nfile = \"a.so\"\nsha256 = \"{pin}\"\n[[plugin]]\nfile = \"b.so\"\nrequired = false\n"
    );
    let (config, problems) = examined(&text);
    assert_eq!(problems.to_string(), "");
    let config = config.expect("no problems");
    assert_eq!((config.plugins[0].sha256, config.plugins[0].required), (Some([0xab; 32]), true));
    assert_eq!((config.plugins[1].sha256, config.plugins[1].required), (None, false));
    let problem = config.problem(config.plugins[1].at, "is not there");
    assert_eq!((problem.line, problem.column), (Some(7), Some(8)));
}

#[test]
fn an_entry_whose_pin_cannot_be_read_is_not_an_unpinned_one() {
    let (config, problems) = examined(&format!("{LEAST}[[plugin]]\nfile = \"a.so\"\nsha256 = \"ab\"\n"));
    assert_eq!(problems.len(), 1, "{problems}");
    assert!(config.expect("the rest of it").plugins.is_empty());
}

#[test]
fn a_refused_file_is_told_of_tables_that_no_library_reads() {
    let folder = Folder::new();
    let plugins = "[[plugin]]\nfile = \"liba_factor-1a2b3c4d.so\"\n";
    folder.file("c.toml", format!("{LEAST}[a-factor]\n[telemetry]\n{plugins}"));
    assert!(Config::load(&folder.0.join("c.toml")).is_ok(), "their libraries say better whose they are");
    folder.file("c.toml", format!("{LEAST}colour = 1\n[a-factor]\n[telemetry]\n{plugins}"));
    let said = refusal(&folder);
    assert!(said.contains("`store.colour`") && said.contains("`telemetry`"), "{said}");
    assert!(!said.contains("`a-factor`"), "{said}");
}

#[test]
fn who_else_can_write_the_file_decides_what_runs() {
    let folder = Folder::new();
    let file = folder.file("c.toml", format!("{LEAST}colour = 1"));
    for (mode, refused) in [(0o600, false), (0o644, false), (0o664, true), (0o646, true), (0o620, true)] {
        fs::set_permissions(&file, Permissions::from_mode(mode)).expect("a file of our own");
        let said = refusal(&folder);
        let why = format!("c.toml: others than its owner may write to it (mode {mode:04o})");
        assert_eq!(said.starts_with(&why), refused, "{said}");
        assert!(said.contains("`store.colour`: is not a known key"), "{said}");
    }
}

#[test]
fn what_is_not_a_small_text_file_is_not_read() {
    let folder = Folder::new();
    assert_eq!(refusal(&folder), "c.toml: it cannot be read: No such file or directory (os error 2)");
    fs::create_dir(folder.0.join("c.toml")).expect("a folder of our own");
    assert_eq!(refusal(&folder), "c.toml: it is not a regular file");
    fs::remove_dir(folder.0.join("c.toml")).expect("a folder of our own");
    folder.file("c.toml", format!("{LEAST}#{}\n", "x".repeat((1 << 20) - LEAST.len() - 2)));
    assert!(Config::load(&folder.0.join("c.toml")).is_ok(), "1 MiB");
    folder.file("c.toml", format!("{LEAST}#{}\n", "x".repeat((1 << 20) - LEAST.len() - 1)));
    assert_eq!(refusal(&folder), "c.toml: it is larger than 1 MiB");
}

#[test]
fn a_variable_that_makes_no_sense_is_a_problem_of_the_configuration() {
    let folder = Folder::new();
    let file = folder.file("c.toml", LEAST);
    let (_, problems) = Config::examine_in(&file, |name| {
        (name == "MFA_CHALLENGE_SECRET").then(|| "change-me-change-me-change-me-change-me".into())
    });
    let said = problems.to_string();
    assert!(said.contains("`MFA_CHALLENGE_SECRET`: is a placeholder"), "{said}");
    assert!(!said.contains("change-me"), "{said}");

    let env = |name: &str| match name {
        "MFA_OTP_TTL" => Some("5".into()),
        "MFA_LOCKOUT_MINUTES" => Some("2000".into()),
        "MFA_CHALLENGE_SECRET" => Some("kVY2hT9wq0ZsX4nB7mLr1pJcE6uGdAo3".into()),
        _ => None,
    };
    let (config, problems) = Config::examine_in(&file, env);
    assert_eq!(problems.to_string(), "");
    let config = config.expect("no problems");
    assert!(config.token_secret.is_some());
    let said = config.plugin_table("mfa").expect_err("a problem").to_string();
    assert!(said.contains("`MFA_OTP_TTL`: `5` in the environment is not a duration, like `5m`"), "{said}");
    let both = "lockout.max_duration must not be shorter than lockout.duration";
    let said = config.plugin_problem("mfa", ".", both).to_string();
    assert!(said.contains("`MFA_LOCKOUT_MINUTES` in the environment"), "{said}");
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its refusals are looked at")]
struct Plugin {
    url: String,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    hooks: Vec<Limits>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its refusals are looked at")]
struct Limits {
    tries: u8,
}

/// As a plugin's library reads its table and says what is wrong.
fn objection(table: &str) -> Problem {
    let (config, problems) = examined(&format!("{LEAST}{table}"));
    assert_eq!(problems.to_string(), "");
    let config = config.expect("no problems");
    let json = config.plugin_table("it").expect("no problems");
    let mut json = serde_json::Deserializer::from_str(&json);
    let error = serde_path_to_error::deserialize::<_, Plugin>(&mut json).err().expect("an objection");
    let text = error.inner().to_string();
    let message = text.rfind(" at line ").map_or(text.as_str(), |end| &text[..end]);
    config.plugin_problem("it", &error.path().to_string(), message)
}

#[test]
fn a_plugins_objection_stands_at_its_value() {
    for (table, line, column, key, part) in [
        ("[it]\nurl = 5", 4, 7, "it.url", "expected a string"),
        ("[it]\nurl = \"\"\nlimts = {}", 5, 1, "it.limts", "did you mean `limits`?"),
        (
            "[it]\nurl = \"\"\nlimits = { count = 1 }",
            5,
            12,
            "it.limits.count",
            "the only one here is `tries`",
        ),
        ("[it]\nurl = \"\"\n[it.limits]\ntries = 300", 6, 9, "it.limits.tries", "expected u8"),
        ("[it]\nurl = \"\"\n[it.limits]\n", 5, 5, "it.limits.tries", "is missing from [it.limits]"),
        (
            "[it]\nurl = \"\"\n[[it.hooks]]\ntries = 1\n[[it.hooks]]\nurl = 1",
            8,
            1,
            "it.hooks[1].url",
            "known key",
        ),
        ("[it]\nurl = \"\"\nhooks = [{ tries = 1 }, 7]", 5, 25, "it.hooks[1]", "expected struct"),
        ("[it.limits]\ntries = 1", 3, 2, "it.url", "is missing from [it]"),
        ("", 1, 1, "it.url", "is missing from [it]"),
    ] {
        let problem = objection(table);
        assert_eq!((problem.line, problem.column), (Some(line), Some(column)), "{problem}");
        assert_eq!(problem.key.as_deref(), Some(key), "{problem}");
        assert!(problem.message.contains(part), "{problem}");
    }
}

#[test]
fn an_objection_does_not_repeat_a_secret() {
    let problem = objection("[it]\nurl = \"\"\nlimits = { env = \"SMTP_PASSWORD\" }");
    assert_eq!(problem.key.as_deref(), Some("it.limits"));
    assert!(!problem.to_string().contains("canary"), "{problem}");
    assert!(problem.message.contains("string \"…\""), "{problem}");
    assert!(env("SMTP_PASSWORD").is_some_and(|secret| secret.to_string_lossy().contains("canary")));
}

/// The reference shows the defaults of the code: with all of them written down, nothing is another.
#[test]
fn the_reference_shows_the_defaults() {
    let (shown, problems) = examined(include_str!("../../../docs/configuration.toml"));
    let (least, none) = examined("[store]\nuse = \"sqlite\"\n");
    assert_eq!(problems.to_string() + &none.to_string(), "");
    let (shown, least) = shown.zip(least).expect("without problems");
    // Taken apart, so that none is left out.
    let values = |config: Config| {
        let Config {
            file: _,
            listen,
            public_url,
            allowed_hosts,
            trusted_proxies,
            registration,
            data_dir,
            plugin_dir,
            keys_file,
            token_secret: _,
            session,
            audit_retention,
            password,
            pages,
            openapi,
            metrics,
            log,
            store,
            delivery,
            mail_templates,
            plugins,
            folder: _,
            document: _,
            env: _,
        } = config;
        let paths = [data_dir, plugin_dir, keys_file].map(|path| path.file_name().map(ToOwned::to_owned));
        let network = (listen, public_url.origin().to_owned(), allowed_hosts, trusted_proxies, metrics);
        let plugins = (store, delivery, mail_templates, plugins);
        format!(
            "{:#?}",
            (network, registration, paths, session, audit_retention, password, pages, openapi, log, plugins)
        )
    };
    assert_eq!(values(shown), values(least));
}
