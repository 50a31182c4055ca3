//! A configuration that somebody has mistyped.
use super::{Config, Env, PublicUrl, source::Source};
use std::path::Path;

/// Is read wholly, or is told what is wrong: in lines that cannot steer a terminal, and not at endless length.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let env: Env = |name| (name == "SET").then(|| "value".into());
    let source = Source::new(Path::new("c.toml"), text.to_owned());
    let (config, problems) = Config::of(source, Path::new("/nowhere"), env);
    // A number that is too large in the table of a plugin is told when that table is handed over.
    let handed = config.as_ref().map_or(Ok(String::new()), |config| config.plugin_table("mfa"));
    let toml = text.parse::<toml_edit::DocumentMut>();
    assert!(toml.is_ok() || !problems.is_empty() || handed.is_err(), "what is not TOML is told so");
    let said = problems.to_string();
    let steers = |c: char| c.is_control() && !['\n', '\t'].contains(&c);
    assert!(!said.contains(steers), "a problem cannot steer a terminal");
    assert!(said.len() < (text.len() + 1) * 2000, "a problem is some lines");
    let Some(config) = config else {
        assert!(!problems.is_empty(), "no configuration without a reason");
        return;
    };
    let origin = config.public_url.origin();
    let reread: Option<PublicUrl> = origin.parse().ok();
    assert_eq!(reread.as_ref(), Some(&config.public_url), "an origin has one spelling");
    // A table that names files would have them read.
    if !text.contains("file") {
        for plugin in ["mfa", "store-memory", "delivery-smtp"] {
            if let Ok(table) = config.plugin_table(plugin) {
                let table: Result<serde_json::Value, _> = serde_json::from_str(&table);
                assert!(table.is_ok_and(|table| table.is_object()), "a plugin is handed a JSON object");
            }
        }
        let _ = config.store_is_volatile();
    }
    let _ =
        (config.unowned_tables(&["mfa"]), config.plugin_problem("mfa", "totp.skew_steps", "must be less"));
}
