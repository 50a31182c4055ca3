//! Changes to the file that keep its comments and its look.
use super::{
    Problem, Problems,
    plugin_tables::TableName,
    replace::Replacement,
    source::{self, Source, Unread},
    tree, unreadable,
};
use std::{io, path::Path};
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, Value};

/// Adds a pinned `[[plugin]]`, or pins the entry of the same plugin anew. Returned is the name of the file that
/// the entry named before.
pub fn pin(config: &Path, library: &str, sha256: &[u8; 32]) -> Result<Option<String>, Problems> {
    let sum = sha256.iter().fold(String::new(), |sum, byte| format!("{sum}{byte:02x}"));
    change(config, |document| {
        let first = !document.contains_key("plugin");
        let trailing = document.trailing().as_str().unwrap_or_default().to_owned();
        let entries = entries(document)?;
        let same = entries.iter().position(|entry| stem(named(entry)) == stem(library));
        let Some(at) = same else {
            let mut entry = Table::new();
            entry.insert("file", toml_edit::value(library));
            entry.insert("sha256", toml_edit::value(sum));
            // What is said about plugins at the end of the file stays above the first of them.
            let above = if first { format!("{}\n", trailing.trim_end_matches('\n')) } else { String::new() };
            entry.decor_mut().set_prefix(format!("{above}\n"));
            entries.push(entry);
            if first {
                document.set_trailing("");
            }
            return Ok(None);
        };
        let before = entries.get(at).map(|entry| named(entry).to_owned());
        let mut seen = 0;
        entries.retain(|entry| {
            let same = stem(named(entry)) == stem(library);
            seen += usize::from(same);
            !same || seen == 1
        });
        if let Some(entry) = entries.get_mut(at) {
            set(entry, "file", library.into());
            set(entry, "sha256", sum.into());
        }
        Ok(before)
    })
}

/// Removes the `[[plugin]]` of a file; false when there is none.
pub fn unpin(config: &Path, library: &str) -> Result<bool, Problems> {
    change(config, |document| {
        let trailing = document.trailing().as_str().unwrap_or_default().to_owned();
        let entries = entries(document)?;
        let Some(at) = entries.iter().position(|entry| named(entry) == library) else { return Ok(false) };
        // A comment that touches the entry is about it; one with a blank line between is about more.
        let removed = entries.remove(at);
        let prefix = removed.decor().prefix().and_then(|prefix| prefix.as_str()).unwrap_or_default();
        let kept = prefix.rfind("\n\n").map_or("", |end| &prefix[..=end]);
        if let Some(next) = entries.get_mut(at) {
            let own = next.decor().prefix().and_then(|prefix| prefix.as_str()).unwrap_or("\n");
            let both = format!("{kept}{own}");
            next.decor_mut().set_prefix(both);
        } else {
            if entries.is_empty() {
                document.remove("plugin");
            }
            document.set_trailing(format!("{kept}{trailing}"));
        }
        Ok(true)
    })
}

/// Removes the table of a plugin with the comments above it and all that is below it; false when there is none.
pub fn drop_table(config: &Path, plugin: &str) -> Result<bool, Problems> {
    change(config, |document| {
        let (parent, key) = TableName::of(plugin).parts();
        let removed = match parent {
            None => document.remove(key),
            Some(parent) => {
                document.get_mut(parent).and_then(Item::as_table_like_mut).and_then(|table| table.remove(key))
            }
        };
        Ok(removed.is_some())
    })
}

/// A library's name without the part that changes from build to build: `libplugin_mfa` of
/// `libplugin_mfa-1a2b3c4d.so`.
pub fn stem(library: &str) -> &str {
    let name = library.strip_suffix(".so").unwrap_or(library);
    match name.rsplit_once('-') {
        Some((stem, hash)) if hash.len() >= 8 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => stem,
        _ => name,
    }
}

fn named(entry: &Table) -> &str {
    entry.get("file").and_then(Item::as_str).unwrap_or_default()
}

fn entries(document: &mut DocumentMut) -> Result<&mut ArrayOfTables, String> {
    let plugins = document.entry("plugin").or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    plugins.as_array_of_tables_mut().ok_or_else(|| "`plugin` must be written [[plugin]] to be edited".into())
}

fn set(entry: &mut Table, key: &str, value: Value) {
    match entry.get_mut(key).and_then(Item::as_value_mut) {
        Some(old) => {
            let decor = old.decor().clone();
            *old = value;
            *old.decor_mut() = decor;
        }
        None => {
            entry.insert(key, Item::Value(value));
        }
    }
}

/// Reads, changes and replaces the file, one such change at a time.
fn change<T>(
    config: &Path,
    change: impl FnOnce(&mut DocumentMut) -> Result<T, String>,
) -> Result<T, Problems> {
    let unwritten =
        |error: io::Error| Problem::of_file(config, None, &format!("it cannot be written: {error}"));
    // A link stays a link to the changed file.
    let file = std::fs::canonicalize(config).map_err(|error| unreadable(config, &Unread::Failed(error)))?;
    let replacement = Replacement::begin(&file).map_err(unwritten)?;
    let (source, _) = source::read(&file).map_err(|unread| unreadable(config, &unread))?;
    let source = Source::new(config, source.text);
    if let Some(error) = tree::parse(&source).1.errors.first() {
        let message = format!("this is not TOML: {}", error.message);
        return Err(Problem::at(&source, error.at, None, &message).into());
    }
    let mut document: DocumentMut = source
        .text
        .parse()
        .map_err(|error: toml_edit::TomlError| Problem::of_file(config, None, error.message()))?;
    let done = change(&mut document).map_err(|why| Problem::of_file(config, None, &why))?;
    let text = document.to_string();
    if text != source.text {
        replacement.finish(text.as_bytes()).map_err(unwritten)?;
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::{super::golden::Folder, *};
    use std::{
        fs::{self, Permissions},
        os::unix::fs::PermissionsExt,
    };

    const BEFORE: &str =
        "# Mine.\nlisten = \"127.0.0.1:8080\" # here\n\n[store]\nuse   = 'sqlite'\n\n# All plugins.\n";

    fn after(text: &str, edit: impl FnOnce(&Path)) -> String {
        let folder = Folder::new();
        let file = folder.file("c.toml", text);
        edit(&file);
        let names = fs::read_dir(&folder.0).expect("a folder of our own");
        assert_eq!(names.count(), 1, "nothing is left beside the file");
        fs::read_to_string(&file).expect("a file of our own")
    }
    fn pinned(text: &str, library: &str, byte: u8, before: Option<&str>) -> String {
        after(text, |file| assert_eq!(pin(file, library, &[byte; 32]), Ok(before.map(str::to_owned))))
    }
    fn unpinned(text: &str, library: &str) -> String {
        after(text, |file| assert_eq!(unpin(file, library), Ok(true)))
    }
    fn entry(library: &str, byte: u8) -> String {
        format!("\n[[plugin]]\nfile = \"{library}\"\nsha256 = \"{}\"\n", format!("{byte:02x}").repeat(32))
    }

    #[test]
    fn entries_are_added_at_the_end_and_what_was_there_stays() {
        let one = pinned(BEFORE, "libplugin_mfa-1a2b3c4d.so", 1, None);
        assert_eq!(one, format!("{BEFORE}{}", entry("libplugin_mfa-1a2b3c4d.so", 1)));
        let two = pinned(&one, "libstore_sqlite.so", 2, None);
        assert_eq!(two, format!("{one}{}", entry("libstore_sqlite.so", 2)));
        assert_eq!(
            unpinned(&two, "libplugin_mfa-1a2b3c4d.so"),
            format!("{BEFORE}{}", entry("libstore_sqlite.so", 2))
        );
        assert_eq!(unpinned(&unpinned(&two, "libstore_sqlite.so"), "libplugin_mfa-1a2b3c4d.so"), BEFORE);
    }

    #[test]
    fn an_entry_of_the_same_plugin_is_pinned_anew_in_its_place() {
        let text = format!(
            "{BEFORE}\n# The factor.\n[[plugin]]\nsha256   = \"\" # old\nfile     = 'libplugin_mfa-00000000.so' # this\n\
             required = true\n\n[mfa] # between\n{}\n# The end.\n",
            entry("libstore_sqlite.so", 2)
        );
        let anew = text
            .replace("\"\" # old", &format!("\"{}\" # old", "07".repeat(32)))
            .replace("'libplugin_mfa-00000000.so'", "\"libplugin_mfa-1a2b3c4d.so\"");
        assert_eq!(pinned(&text, "libplugin_mfa-1a2b3c4d.so", 7, Some("libplugin_mfa-00000000.so")), anew);
        let without = unpinned(&anew, "libplugin_mfa-1a2b3c4d.so");
        assert!(!without.contains("factor") && !without.contains("plugin_mfa"), "{without}");
        for kept in
            ["# Mine.", "# here", "# All plugins.", "[mfa] # between", "libstore_sqlite", "# The end."]
        {
            assert!(without.contains(kept), "{kept}: {without}");
        }
    }

    #[test]
    fn a_table_goes_with_all_below_it_and_nothing_else() {
        let text = format!(
            "{BEFORE}\n[session]\n\n[store.sqlite]\npath = \"x\"\n\n[mfa]\nissuer = \"x\"\n\n[mfa.totp]\nskew_steps = 0\n{}\n[mfa.lockout]\n",
            entry("liba.so", 1)
        );
        let dropped = |text: &str, plugin, expected| {
            after(text, |file| assert_eq!(drop_table(file, plugin), Ok(expected), "{plugin}"))
        };
        let without = dropped(&text, "mfa", true);
        assert!(!without.contains("mfa") && without.contains("[store.sqlite]"), "{without}");
        let without = dropped(&without, "store-sqlite", true);
        assert_eq!(without, format!("{BEFORE}\n[session]\n{}", entry("liba.so", 1)));
        for absent in ["mfa", "store-memory", "delivery-smtp"] {
            assert_eq!(dropped(&without, absent, false), without);
        }
    }

    #[test]
    fn a_plugin_that_stood_twice_stands_once() {
        let text = format!("{BEFORE}{}{}", entry("liba-00000000.so", 1), entry("liba-11111111.so", 2));
        let once = pinned(&text, "liba-22222222.so", 3, Some("liba-00000000.so"));
        assert_eq!(once, format!("{BEFORE}{}", entry("liba-22222222.so", 3)));
    }

    #[test]
    fn a_starter_and_its_plugins_are_without_problems() {
        let url = "http://127.0.0.1:8080".parse().expect("an origin");
        let starter = super::super::template::starter(
            ([127, 0, 0, 1], 8080).into(),
            &url,
            super::super::Registration::Open,
        );
        let one = pinned(&starter, "libplugin_mfa.so", 1, None);
        let two = pinned(&one, "libstore_sqlite.so", 2, None);
        assert!(two.starts_with(&starter), "{two}");
        let (config, problems) = super::super::golden::examined(&two);
        assert_eq!(problems.to_string(), "");
        let plugins = config.expect("no problems").plugins;
        let pins: Vec<_> = plugins.iter().map(|plugin| (plugin.file.as_str(), plugin.sha256)).collect();
        assert_eq!(pins, [("libplugin_mfa.so", Some([1; 32])), ("libstore_sqlite.so", Some([2; 32]))]);
    }

    #[test]
    fn the_file_keeps_its_mode_and_a_link_stays_a_link() {
        let folder = Folder::new();
        let file = folder.file("c.toml", BEFORE);
        fs::set_permissions(&file, Permissions::from_mode(0o604)).expect("a file of our own");
        let link = folder.0.join("link.toml");
        std::os::unix::fs::symlink("c.toml", &link).expect("a folder of our own");
        folder.file(".c.toml.new", "left by a crash");
        assert_eq!(pin(&link, "a.so", &[1; 32]), Ok(None));
        assert_eq!(fs::metadata(&file).expect("still there").permissions().mode() & 0o7777, 0o604);
        assert!(fs::symlink_metadata(&link).expect("still there").is_symlink());
        assert!(fs::read_to_string(&file).expect("still there").contains("a.so"));
        assert!(!folder.0.join(".c.toml.new").exists());
    }

    #[test]
    fn edits_at_once_are_all_kept() {
        let folder = Folder::new();
        let file = &folder.file("c.toml", BEFORE);
        std::thread::scope(|scope| {
            for n in 0..8u8 {
                scope.spawn(move || assert_eq!(pin(file, &format!("lib{n}.so"), &[n; 32]), Ok(None)));
            }
        });
        let text = fs::read_to_string(file).expect("a file of our own");
        assert_eq!((0..8).filter(|n| text.contains(&format!("lib{n}.so"))).count(), 8, "{text}");
    }

    #[test]
    fn what_cannot_be_edited_is_left_alone() {
        for (text, why) in [
            ("listen = 127\n[", "this is not TOML"),
            ("plugin = [{ file = \"a.so\" }]\n", "must be written [[plugin]]"),
            ("plugin = 3\n", "must be written [[plugin]]"),
        ] {
            let unchanged = after(text, |file| {
                let refused = pin(file, "a.so", &[1; 32]).expect_err(why);
                assert!(refused.to_string().contains(why), "{refused}");
            });
            assert_eq!(unchanged, text);
        }
        let unchanged = after(BEFORE, |file| assert_eq!(unpin(file, "a.so"), Ok(false)));
        assert_eq!(unchanged, BEFORE);
        let folder = Folder::new();
        let absent = pin(&folder.0.join("c.toml"), "a.so", &[1; 32]).expect_err("no file");
        assert!(absent.to_string().contains("cannot be read"), "{absent}");
    }

    #[test]
    fn a_stem_is_a_name_without_its_hash() {
        for (library, expected) in [
            ("libplugin_mfa.so", "libplugin_mfa"),
            ("libplugin_mfa-1a2b3c4d.so", "libplugin_mfa"),
            ("libplugin_mfa-1a2b3c4d5e6f7081.so", "libplugin_mfa"),
            ("libstore-sqlite.so", "libstore-sqlite"),
            ("libstore-beef.so", "libstore-beef"),
            ("plugin", "plugin"),
        ] {
            assert_eq!(stem(library), expected);
        }
    }
}
