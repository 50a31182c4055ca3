//! `store check`: every record opens and reads, and accounts and their directory agree.
use super::{
    Failure, Report,
    records::{Record, Records},
};
use crate::{
    accounts,
    config::Config,
    kernel::{Inventory, hex},
};
use serde_json::json;
use std::collections::BTreeMap;

/// So many findings are told one by one.
const SHOWN: usize = 50;

/// What was seen so far.
struct Findings {
    inventory: Inventory,
    records: u64,
    found: Vec<String>,
    more: usize,
    /// Addresses by account, as the accounts and as the directory have them.
    accounts: BTreeMap<String, String>,
    directory: BTreeMap<String, String>,
}

pub(super) fn run(config: &Config) -> Result<Report, Failure> {
    let inventory = Inventory::of(config).map_err(Failure::usage)?;
    let mut findings = Findings {
        inventory,
        records: 0,
        found: Vec::new(),
        more: 0,
        accounts: BTreeMap::new(),
        directory: BTreeMap::new(),
    };
    let mut records = Records::of(config);
    records.each(|record| findings.look_at(&record))?;
    // What was made or removed while pages were read is in one of the two; it is looked up once more.
    if findings.disagree() {
        (findings.accounts, findings.directory) = Default::default();
        let Findings { inventory, accounts, directory, .. } = &mut findings;
        records.each(|record| {
            let _ = learn(inventory, &record, accounts, directory);
        })?;
    }
    findings.compare();
    let Findings { records, found, more, .. } = findings;
    let mut lines = found.clone();
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    let all = found.len() + more;
    lines.push(format!(
        "{records} records: {}",
        if all == 0 { "nothing is wrong".into() } else { format!("{all} findings") }
    ));
    let json = json!({ "records": records, "findings": found, "more": more });
    Ok(Report { failed: all > 0, ..Report::new(lines.join("\n"), json) })
}

impl Findings {
    fn look_at(&mut self, record: &Record) {
        self.records += 1;
        if let Err(why) = learn(&self.inventory, record, &mut self.accounts, &mut self.directory) {
            self.report(why);
        }
    }
    fn report(&mut self, why: String) {
        if self.found.len() < SHOWN { self.found.push(why) } else { self.more += 1 }
    }
    fn disagree(&self) -> bool {
        self.accounts.keys().ne(self.directory.keys())
    }
    fn compare(&mut self) {
        let missing = |of: &BTreeMap<String, String>, id: &String| !of.contains_key(id);
        let lost: Vec<String> = self
            .accounts
            .iter()
            .filter(|(id, _)| missing(&self.directory, id))
            .map(|(id, email)| {
                format!("the account {id} ({email}) is not in the directory: nobody can sign in to it")
            })
            .collect();
        let stale: Vec<String> = self
            .directory
            .iter()
            .filter(|(id, _)| missing(&self.accounts, id))
            .map(|(id, email)| format!("the directory has {email}, and there is no account {id}"))
            .collect();
        lost.into_iter().chain(stale).for_each(|why| self.report(why));
    }
}

/// Opens a record and takes down what it says of an account; or says what is wrong with it.
fn learn(
    inventory: &Inventory,
    record: &Record,
    all: &mut BTreeMap<String, String>,
    directory: &mut BTreeMap<String, String>,
) -> Result<(), String> {
    let shown = || hex(&record.key);
    let Some((view, kind)) = inventory.kind(&record.key) else {
        return Err(format!("{}: nobody has made a record with such a key", shown()));
    };
    let Some(value) = inventory.open(&record.key, &record.value) else {
        let key = shown();
        return Err(format!(
            "{key}: {view}'s {kind} does not open: it was swapped, damaged, or sealed with a key that is gone"
        ));
    };
    let unread = |why: &str| format!("{}: {view}'s {kind} does not read: {why}", shown());
    let (id, email, into) = match (view, kind) {
        ("host", "account") => {
            let account = accounts::read(&value).map_err(|refusal| unread(refusal.log()))?;
            if inventory.host_key(&account.id, accounts::RECORD) != record.key {
                return Err(unread("it is another account's"));
            }
            (account.id, account.email, all)
        }
        ("host", "directory") => {
            let (id, email) = accounts::read_entry(&value).map_err(|refusal| unread(refusal.log()))?;
            (id, email, directory)
        }
        _ => return Ok(()),
    };
    into.insert(id, email);
    Ok(())
}
