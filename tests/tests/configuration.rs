//! The reference of the configuration. `docs/configuration.toml` has every key with its meaning, its bounds and its default;
//! `docs/configuration.md` is made of it (`BLESS=1` writes it down). That the defaults are those of the code is shown
//! beside the code: `the_reference_shows_the_defaults`.
use countersign_tests::{Site, markdown::read};
use std::{collections::BTreeSet, fmt::Write as _, fs, process::Output};
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
        // Names that several tables have count as often, so that one more is noticed.
        let mut read: Vec<&str> =
            if owner.is_empty() { asked(code).collect() } else { fields(code).collect() };
        let own = || settings.iter().filter(|setting| owner_of(&setting.table) == owner);
        let below = |setting: &'_ Setting| setting.table.strip_prefix(owner).expect("its owner's").to_owned();
        let tables: BTreeSet<String> = own().map(below).collect();
        let names: BTreeSet<&str> =
            tables.iter().flat_map(|table| table.split('.')).filter(|name| !name.is_empty()).collect();
        let mut told: Vec<&str> = own().map(|setting| setting.key.as_str()).chain(names).collect();
        told.sort_unstable();
        read.sort_unstable();
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

/// The keys that the host asks a table for, each once, however often it asks.
fn asked(code: &str) -> impl Iterator<Item = &str> {
    let calls = [".read(", ".need(", ".list(", ".table(", ".tables("];
    let all = calls.into_iter().flat_map(|call| {
        code.match_indices(call).filter_map(move |(at, _)| {
            let table = code[..at].trim_end();
            let table = &table[table.trim_end_matches(|c: char| c.is_alphanumeric() || c == '_').len()..];
            let key = code[at + call.len()..].trim_start().strip_prefix('"')?.split_once('"')?.0;
            Some((table, key))
        })
    });
    all.collect::<BTreeSet<_>>().into_iter().map(|(_, key)| key)
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
    accepted(&Written::on("sqlite").check(&settings, |_| None), "the values shown");
}

/// Bounds as they are told are those that are checked: what lies on one is accepted, what lies beyond is refused.
#[test]
fn every_bound_shown_is_held() {
    let (_, settings) = settings();
    let bounds = settings.iter().filter_map(|setting| Some((setting, Bounds::of(&setting.form)?)));
    let bounds: Vec<(&Setting, Bounds)> = bounds.collect();
    assert!(bounds.len() > 24, "{}", bounds.len());
    let at = |setting: &Setting, end: usize| {
        let (_, bounds) = bounds.iter().find(|(bounded, _)| std::ptr::eq(*bounded, setting))?;
        bounds.ends[end].map(|amount| (bounds.written)(amount))
    };
    let sites = ["sqlite", "memory"].map(Written::on);
    for (site, end) in sites.iter().flat_map(|site| [(site, 0), (site, 1)]) {
        let said = format!("each value at end {end} of its bounds, on the store {}", site.store);
        accepted(&site.check(&settings, |setting| at(setting, end)), &said);
    }
    for (setting, bounds) in &bounds {
        let [sqlite, memory] = &sites;
        let site = if setting.table == "store.memory" { memory } else { sqlite };
        let below = bounds.ends[0].and_then(|least| least.checked_sub(1));
        let above = bounds.ends[1].map(|most| most + 1);
        for beyond in [below, above].into_iter().flatten().map(bounds.written) {
            let output = site.check(&settings, |other| std::ptr::eq(other, *setting).then(|| beyond.clone()));
            let said = String::from_utf8_lossy(&output.stderr);
            let place = format!("[{}] {} = {beyond}", setting.table, setting.key);
            assert!(output.status.code() == Some(2) && said.contains(&setting.key), "{place}: {said}");
        }
    }
}

/// From what to what, in the smallest unit that can be written, and how that is written.
struct Bounds {
    ends: [Option<u64>; 2],
    written: fn(u64) -> String,
}

impl Bounds {
    fn of(form: &str) -> Option<Self> {
        let form = form.strip_suffix("; required").unwrap_or(form);
        let (is, range) = match form.split_once(", ") {
            Some((is @ ("a duration" | "a size" | "text"), range)) => (is, range),
            None => ("a number", form),
            _ => return None,
        };
        let amount = |text: &str| -> Option<u64> {
            let mut words = text.trim_matches('"').split(' ');
            let (first, unit) = (words.next()?, words.next());
            let digits = first.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let factor = match (&first[digits.len()..], unit) {
                ("", None | Some("bytes" | "characters" | "KiB")) | ("s", None) => 1,
                ("m", None) => 60,
                ("h", None) => 60 * 60,
                ("d", None) => 24 * 60 * 60,
                ("", Some("MiB")) => 1 << 10,
                ("", Some("GiB")) => 1 << 20,
                _ => return None,
            };
            Some(digits.parse::<u64>().ok()? * factor)
        };
        let ends = if let Some((least, most)) = range.split_once(" to ").or_else(|| range.split_once(" or "))
        {
            [Some(amount(least)?), Some(amount(most)?)]
        } else {
            [Some(amount(range.strip_prefix("at least ")?)?), None]
        };
        let written: fn(u64) -> String = match is {
            "a duration" => |seconds| format!("\"{seconds}s\""),
            "a size" => |kibibytes| format!("\"{kibibytes} KiB\""),
            "text" => |bytes| format!("{:?}", "a".repeat(usize::try_from(bytes).expect("few"))),
            _ => |number| number.to_string(),
        };
        Some(Self { ends, written })
    }
}

#[track_caller]
fn accepted(output: &Output, what: &str) {
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A directory whose configuration says all values that are shown.
struct Written {
    site: Site,
    store: &'static str,
}

impl Written {
    fn on(store: &'static str) -> Self {
        let site = Site::with_store(store);
        fs::write(site.path("logo.svg"), "<svg xmlns=\"http://www.w3.org/2000/svg\"/>").expect("a file");
        fs::write(site.path("smtp-password"), "correct horse\n").expect("a file");
        for folder in ["templates", "mails"] {
            fs::create_dir(site.path(folder)).expect("a folder");
        }
        Self { site, store }
    }

    /// What `config check` says of them, but for those that `other` has another for.
    fn check(&self, settings: &[Setting], other: impl Fn(&Setting) -> Option<String>) -> Output {
        // The entries of plugins and where they lie are the site's; an authority would have to be made.
        let is_shown = |setting: &&Setting| setting.table != "plugin" && setting.key != "ca";
        let mut text = String::new();
        let mut table = "";
        for setting in settings.iter().filter(is_shown) {
            if setting.table != table {
                table = &setting.table;
                let _ = writeln!(text, "[{table}]");
            }
            let value = match (table, &*setting.key) {
                ("store", "use") => format!("{:?}", self.store),
                _ => other(setting).unwrap_or_else(|| setting.value.clone()),
            };
            let _ = writeln!(text, "{} = {value}", setting.key);
        }
        let shown: DocumentMut = text.parse().expect("TOML");
        self.site.edit(|config| {
            for (key, item) in shown.iter() {
                config[key] = item.clone();
            }
            // What `cookie_domain` needs.
            config["public_url"] = value("https://auth.example.org");
        });
        self.site.run(&["config", "check"])
    }
}
