//! The reference of the configuration. `docs/configuration.toml` has every key with its meaning, its bounds and its default;
//! `docs/configuration.md` is made of it (`BLESS=1` writes it down). That the defaults of the host and of plugin-mfa are those
//! of the code is shown beside the code: `the_reference_shows_the_defaults`.
use countersign_tests::{Site, markdown::read};
use std::{collections::BTreeSet, fmt::Write as _, fs};
use toml_edit::{DocumentMut, value};
use xtask::project::root;

const HEAD: &str = "# Configuration\n\n\
    Every key, made of [configuration.toml](configuration.toml), which is a whole configuration with all defaults.\n";

/// Where keys are read, and the table that they stand in.
const SOURCES: [(&str, &str); 5] = [
    ("host/src/config/settings.rs", ""),
    ("plugin-mfa/src/config.rs", "mfa"),
    ("delivery-smtp/src/lib.rs", "delivery.smtp"),
    ("store-sqlite/src/lib.rs", "store.sqlite"),
    ("store-memory/src/lib.rs", "store.memory"),
];

struct Setting {
    table: String,
    key: String,
    value: String,
    /// Whether the value is the default, and not an example.
    is_default: bool,
    meaning: String,
    form: String,
}

fn settings() -> (String, Vec<Setting>) {
    let text = read("docs/configuration.toml");
    let (introduction, rest) = text.split_once("\n\n").expect("an introduction");
    let introduction = introduction.lines().map(|line| line.trim_start_matches("# ")).collect::<Vec<_>>();
    let (mut table, mut meaning, mut form) = (String::new(), String::new(), String::new());
    let mut settings = Vec::new();
    for line in rest.lines().filter(|line| !line.is_empty()) {
        let bare = line.trim_start_matches('#');
        if let Some(text) = line.strip_prefix("# ") {
            let space = if meaning.is_empty() { "" } else { " " };
            meaning.extend([space, text]);
        } else if let Some(text) = line.strip_prefix("#: ") {
            text.clone_into(&mut form);
        } else if bare.starts_with('[') {
            bare.trim_matches(['[', ']']).clone_into(&mut table);
        } else {
            let (key, value) = bare.split_once(" = ").expect("a key and a value");
            assert!(!meaning.is_empty() && !form.is_empty(), "{key} lacks its meaning or its form");
            settings.push(Setting {
                table: table.clone(),
                key: key.to_owned(),
                value: value.to_owned(),
                is_default: !line.starts_with('#') && !form.ends_with("required"),
                meaning: std::mem::take(&mut meaning),
                form: std::mem::take(&mut form),
            });
        }
    }
    (introduction.join("\n"), settings)
}

#[test]
fn the_page_is_made_of_the_file() {
    let (introduction, settings) = settings();
    let mut page = format!("{HEAD}\n{introduction}\n");
    for (at, setting) in settings.iter().enumerate() {
        let Setting { table, key, value, meaning, form, .. } = setting;
        if at == 0 || settings[at - 1].table != *table {
            let heading = match table.as_str() {
                "" => "At the top".to_owned(),
                "plugin" => "`[[plugin]]`".to_owned(),
                table => format!("`[{table}]`"),
            };
            let _ = write!(page, "\n## {heading}\n\n| key | is | default | meaning |\n|---|---|---|---|\n");
        }
        let default = if setting.is_default { format!("`{value}`") } else { String::new() };
        let example = if setting.is_default { String::new() } else { format!(" Example: `{value}`") };
        let _ = writeln!(page, "| `{key}` | {form} | {default} | {meaning}{example} |");
    }
    if std::env::var_os("BLESS").is_some() {
        fs::write(root().join("docs/configuration.md"), &page).expect("the page can be written");
    }
    assert!(
        page == read("docs/configuration.md"),
        "docs/configuration.md is another: BLESS=1 writes it down"
    );
}

#[test]
fn every_key_of_the_code_is_told_of_and_no_other() {
    let (_, settings) = settings();
    for (source, owner) in SOURCES {
        let text = read(source);
        let code = text.split("#[cfg(test)]\nmod tests {").next().expect("a source");
        let read: BTreeSet<&str> =
            if owner.is_empty() { asked(code).collect() } else { fields(code).collect() };
        let mut told = BTreeSet::new();
        for setting in settings.iter().filter(|setting| owner_of(&setting.table) == owner) {
            told.insert(setting.key.as_str());
            let below = setting.table.strip_prefix(owner).expect("its owner's");
            told.extend(below.split('.').filter(|name| !name.is_empty()));
        }
        assert_eq!(told, read, "what docs/configuration.toml tells of, and what {source} reads");
    }
}

/// The table of a plugin that a table stands in; the host's have none.
fn owner_of(table: &str) -> &'static str {
    let owners = SOURCES.map(|(_, owner)| owner).into_iter().filter(|owner| !owner.is_empty());
    let is_in =
        |owner: &str| table.strip_prefix(owner).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    owners.into_iter().find(|owner| is_in(owner)).unwrap_or("")
}

/// The keys that the host asks a table for.
fn asked(code: &str) -> impl Iterator<Item = &str> {
    let calls = [".read(", ".need(", ".list(", ".table(", ".tables("];
    calls.into_iter().flat_map(move |call| {
        code.split(call)
            .skip(1)
            .filter_map(|rest| Some(rest.trim_start().strip_prefix('"')?.split_once('"')?.0))
    })
}

/// The fields of the tables that a plugin deserialises.
fn fields(code: &str) -> impl Iterator<Item = &str> {
    let tables = code.split("deny_unknown_fields").skip(1).filter_map(|rest| {
        let (head, body) = rest.split_once(" {\n")?;
        // Not what is a value of a key.
        (!head.contains("struct Named")).then(|| body.split("\n}").next())?
    });
    let lines = tables.flat_map(str::lines).map(|line| line.trim().trim_start_matches("pub(crate) "));
    let named = lines.filter_map(|line| Some(line.split_once(": ")?.0));
    named.filter(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
}

#[test]
fn every_value_shown_is_accepted() {
    let (_, settings) = settings();
    let site = Site::new();
    fs::write(site.path("logo.svg"), "<svg xmlns=\"http://www.w3.org/2000/svg\"/>").expect("a file");
    fs::write(site.path("smtp-password"), "correct horse\n").expect("a file");
    for folder in ["templates", "mails"] {
        fs::create_dir(site.path(folder)).expect("a folder");
    }
    // The entries of plugins and where they lie are the site's; an authority would have to be made.
    let is_shown = |setting: &&Setting| setting.table != "plugin" && setting.key != "ca";
    let mut text = String::new();
    let mut table = "";
    for setting in settings.iter().filter(is_shown) {
        if setting.table != table {
            table = &setting.table;
            let _ = writeln!(text, "[{table}]");
        }
        let _ = writeln!(text, "{} = {}", setting.key, setting.value);
    }
    let shown: DocumentMut = text.parse().expect("TOML");
    site.edit(|config| {
        for (key, item) in shown.iter() {
            config[key] = item.clone();
        }
        // What `cookie_domain` needs.
        config["public_url"] = value("https://auth.example.org");
    });
    let output = site.run(&["config", "check"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
