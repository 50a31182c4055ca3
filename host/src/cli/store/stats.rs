//! `store stats`: how much of what.
use super::{Failure, Report, records::Records};
use crate::{cli::report::table, config::Config, kernel::Inventory};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(super) fn run(config: &Config) -> Result<Report, Failure> {
    let inventory = Inventory::of(config).map_err(Failure::usage)?;
    let mut records = Records::of(config);
    let usage = records.usage()?;
    let mut kinds: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
    records.each(|record| {
        let (view, kind) = inventory.kind(&record.key).unwrap_or(("(unknown)", "other"));
        let (count, bytes) = kinds.entry((view.into(), kind.into())).or_default();
        *count += 1;
        *bytes += (record.key.len() + record.value.len()) as u64;
    })?;
    let most = |key: &str| match usage[key].as_u64() {
        None | Some(0) => "no bound".to_owned(),
        Some(bound) => format!("{bound} at most"),
    };
    let rows: Vec<[String; 4]> = kinds
        .iter()
        .map(|((view, kind), (count, bytes))| {
            [view.clone(), kind.clone(), count.to_string(), bytes.to_string()]
        })
        .collect();
    let text = format!(
        "store    {}\nrecords  {} ({})\nbytes    {} ({})\noutbox   {} messages wait\n\n{}",
        config.store,
        usage["records"],
        most("max_records"),
        usage["bytes"],
        most("max_bytes"),
        usage["outbox"],
        table(["VIEW", "KIND", "RECORDS", "BYTES"], &rows)
    );
    let kind = |((view, kind), (count, bytes)): (&(String, String), &(u64, u64))| json!({ "view": view, "kind": kind, "records": count, "bytes": bytes });
    let kinds: Vec<Value> = kinds.iter().map(kind).collect();
    Ok(Report::new(text, json!({ "store": config.store, "usage": usage, "kinds": kinds })))
}
