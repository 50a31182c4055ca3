//! `store copy`: everything to another store, and the proof that nothing is missing.
//!
//! Pages of a store that is written to are not of one instant. So a copy is a number of passes, each of which compares all
//! records and writes what differs. Values are sealed anew at every write, so equal bytes mean that nothing was
//! written in between: a pass that finds no difference proves that the copy is what the source was when that
//! pass began, but for records that were made and removed again while it lasted.
use super::{
    Failure, Report,
    records::{Record, Records},
};
use crate::{
    cli::{
        check::{self, settings},
        keys::now,
        progress::Progress,
    },
    config::Config,
    control::{Act, DataDir},
    kernel::{Kernel, Ring, hex, unreadable_with},
};
use countersign_plugin_api::{
    Batch, Completion, Expect, MAX_OPS, Page, Store, StoreError, Time, kernel::OnDone,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Sender, channel},
    },
};

/// A source that still changes in so many passes will not come to rest.
const PASSES: u32 = 5;
const PAGE: usize = 500;

pub(super) fn run(config: &Config, to: &Path, force: bool, json: bool) -> Result<Report, Failure> {
    let target = settings(to)?;
    let (from, into) = (&config.store, &target.store);
    fits(config, &target)?;
    // One process at a time works on a data directory. Where it is one for both, whoever serves the source has it.
    let place = |config: &Config| std::fs::canonicalize(&config.data_dir).ok();
    let is_one = place(config).is_some_and(|ours| place(&target) == Some(ours));
    let claimed = (!is_one).then(|| DataDir::claim(&target.data_dir));
    let _claimed = claimed.transpose().map_err(Failure::new)?;
    let mut source = Records::of(config);
    let total = source.usage()?["records"].as_u64().unwrap_or(0);
    let store = Kernel::open_store(&target, check::strictness(false))?;
    let mut copy = Copy { source, store, total, progress: Progress::new(json) };
    copy.is_another()?;
    if !force && copy.is_filled()? {
        return Err(Failure::usage(format_args!(
            "{}: the store `{into}` is not empty: name an empty one, or make it the same as `{from}` with --force, \
             whatever it holds",
            to.display()
        )));
    }
    // Before anything goes, so that it is known also when this is interrupted.
    let unrecorded = copy.source.note(Act::Copy { to: to.display().to_string() });
    let (mut copied, mut removed, mut passes) = (0, 0, 0);
    let settled = loop {
        let pass = copy.pass(passes + 1)?;
        passes += 1;
        copied += pass.written;
        removed += pass.removed;
        if pass.written + pass.removed == 0 {
            break Some(pass.same);
        }
        if passes == PASSES {
            break None;
        }
    };
    let json = json!({
        "from": from, "to": into, "copied": copied, "removed": removed, "passes": passes, "verified": settled,
    });
    Ok(match settled {
        Some(same) => Report::new(
            format!(
                "{same} records are in `{into}` as they are in `{from}`: {copied} copied, {removed} removed, all compared{unrecorded}"
            ),
            json,
        ),
        None => Report {
            failed: true,
            ..Report::new(
                format!(
                    "{copied} records were copied to `{into}`, and `{from}` still changes: stop the host and say this again with --force{unrecorded}"
                ),
                json,
            )
        },
    })
}

/// Refuses a target that could not be read, would be forgotten, or is the source.
fn fits(source: &Config, target: &Config) -> Result<(), Failure> {
    let (file, name) = (target.file.display(), &target.store);
    let table = |config: &Config| config.plugin_table(&format!("store-{}", config.store));
    let (ours, theirs) = (table(source)?, table(target)?);
    let located = |config: &Config, table: &str| {
        serde_json::from_str(table).map(|table| located(config.folder(), table)).unwrap_or_default()
    };
    if source.store == target.store && located(source, &ours) == located(target, &theirs) {
        return Err(Failure::usage(format_args!("{file}: its store is the one that is to be copied")));
    }
    if serde_json::from_str::<Value>(&theirs).is_ok_and(|table| table["volatile"] == true) {
        return Err(Failure::usage(format_args!(
            "{file}: the store `{name}` forgets everything when this command ends"
        )));
    }
    let ring = |config: &Config| Ring::of(config).map_err(Failure::usage);
    match unreadable_with(&ring(source)?, &ring(target)?) {
        None => Ok(()),
        Some(why) => Err(Failure::usage(format_args!(
            "{}: {why} of {}, and nothing that is copied could be read: use the same key file",
            target.keys_file.display(),
            source.keys_file.display()
        ))),
    }
}

/// A store's table in which every text that leads to a file is that file's one true path. Which of its texts are paths
/// only the store knows; another one cannot make two tables equal that are not.
fn located(folder: &Path, table: Value) -> Value {
    match table {
        Value::String(text) => {
            let path = folder.join(&text);
            Value::String(
                std::fs::canonicalize(path).map_or(text, |path| path.to_string_lossy().into_owned()),
            )
        }
        Value::Object(table) => table.into_iter().map(|(key, value)| (key, located(folder, value))).collect(),
        Value::Array(all) => all.into_iter().map(|value| located(folder, value)).collect(),
        other => other,
    }
}

struct Copy<'c> {
    source: Records<'c>,
    store: Arc<dyn Store>,
    total: u64,
    progress: Progress,
}

/// What a pass did.
#[derive(Default)]
struct Pass {
    written: u64,
    removed: u64,
    same: u64,
}

/// A record of the target.
struct There {
    version: u64,
    expires_at: u64,
    value: Vec<u8>,
}

impl Copy<'_> {
    /// Refuses a target that is the source by another name: what is put there must not appear here.
    fn is_another(&mut self) -> Result<(), Failure> {
        let mut random = [0; 16];
        crate::kernel::fill(&mut random);
        let key = format!("countersign store copy {}", hex(&random)).into_bytes();
        let mut put = Batch::new(now());
        put.put_with(&key, Expect::Absent, Time::NEVER, 0, |_| ());
        self.apply(vec![put])?;
        let seen = self.source.page(Some(&key[..key.len() - 1]));
        let mut delete = Batch::new(now());
        delete.delete(&key, Expect::Any);
        self.apply(vec![delete])?;
        if seen?.0.first().is_some_and(|record| record.key == key) {
            return Err(Failure::usage("the two configurations name one store"));
        }
        Ok(())
    }

    fn is_filled(&self) -> Result<bool, Failure> {
        let mut page = Page::new();
        self.store.scan(&[], None, 1, &mut page).map_err(failed)?;
        Ok(!page.is_empty())
    }

    /// Compares all records, and writes what differs.
    fn pass(&mut self, number: u32) -> Result<Pass, Failure> {
        let mut pass = Pass::default();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let (records, next) = self.source.page(after.as_deref())?;
            let there = self.there(after.as_deref(), next.as_deref())?;
            self.apply(differences(&records, there, now(), &mut pass))?;
            let seen = pass.written + pass.same;
            let what = if number == 1 { "copying" } else { "comparing" };
            self.progress.show(format_args!("{what}: {seen} of {} records", self.total.max(seen)));
            after = next;
            if after.is_none() {
                return Ok(pass);
            }
        }
    }

    /// What the target has after one key, up to another.
    fn there(&self, after: Option<&[u8]>, last: Option<&[u8]>) -> Result<BTreeMap<Vec<u8>, There>, Failure> {
        let mut all = BTreeMap::new();
        let mut after = after.map(<[u8]>::to_vec);
        loop {
            let mut page = Page::new();
            self.store.scan(&[], after.as_deref(), PAGE, &mut page).map_err(failed)?;
            for (key, record) in page.iter() {
                if last.is_some_and(|last| key > last) {
                    return Ok(all);
                }
                let (version, expires_at) = (record.version, record.expires_at.secs());
                all.insert(key.to_vec(), There { version, expires_at, value: record.value.to_vec() });
            }
            if page.len() < PAGE {
                return Ok(all);
            }
            after = page.at(PAGE - 1).map(|(key, _)| key.to_vec());
        }
    }

    /// Applies them all, and waits until they are durable.
    fn apply(&self, batches: Vec<Batch>) -> Result<(), Failure> {
        let (done, outcomes) = channel();
        for batch in batches {
            let done = Arc::new(Done(Mutex::new(done.clone())));
            self.store.apply(batch, Completion::new(done));
        }
        drop(done);
        outcomes.iter().try_for_each(|outcome| outcome.map_err(failed))
    }
}

/// What makes the target the same as the source, between the same two keys.
fn differences(
    records: &[Record],
    mut there: BTreeMap<Vec<u8>, There>,
    now: Time,
    pass: &mut Pass,
) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    let mut write = |op: &dyn Fn(&mut Batch)| match batches.last_mut().filter(|batch| batch.len() < MAX_OPS) {
        Some(batch) => op(batch),
        None => {
            let mut batch = Batch::new(now);
            op(&mut batch);
            batches.push(batch);
        }
    };
    for record in records.iter().filter(|record| record.expires_at > now.secs()) {
        let before = there.remove(&record.key);
        if before.as_ref().is_some_and(|b| b.value == record.value && b.expires_at == record.expires_at) {
            pass.same += 1;
            continue;
        }
        // One that has expired is absent to a batch.
        let live = before.filter(|before| before.expires_at > now.secs());
        let expect = live.map_or(Expect::Absent, |before| Expect::Version(before.version));
        let (len, expires_at) = (record.value.len(), Time::from_secs(record.expires_at));
        write(&|batch| {
            batch.put_with(&record.key, expect, expires_at, len, |out| out.copy_from_slice(&record.value));
        });
        pass.written += 1;
    }
    for (key, there) in there.into_iter().filter(|(_, there)| there.expires_at > now.secs()) {
        write(&|batch| batch.delete(&key, Expect::Version(there.version)));
        pass.removed += 1;
    }
    batches
}

/// Where the outcome of a batch goes.
struct Done(Mutex<Sender<Result<(), StoreError>>>);

impl OnDone for Done {
    fn done(&self, outcome: Result<(), StoreError>) {
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).send(outcome);
    }
}

fn failed(error: StoreError) -> Failure {
    match error {
        StoreError::Conflict => {
            Failure::new("somebody else writes to the other store: let nobody use it meanwhile")
        }
        error => Failure::new(format_args!("the other store: {error}")),
    }
}
