//! The records of a store as they are stored, page by page, through a host that runs or without one.
use super::Failure;
use crate::{
    cli::host::Reach,
    config::Config,
    control::{Act, Operation},
};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use serde_json::Value;

/// A record, its value sealed.
pub(super) struct Record {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
    pub(super) expires_at: u64,
}

/// A way through all records.
pub(super) struct Records<'c> {
    reach: Reach<'c>,
}

impl<'c> Records<'c> {
    pub(super) fn of(config: &'c Config) -> Self {
        Self { reach: Reach::new(config) }
    }

    /// What the store and the host say of it as a whole.
    pub(super) fn usage(&mut self) -> Result<Value, Failure> {
        self.reach.perform(Operation::StoreUsage)
    }

    /// Has the next records after a key sealed anew.
    pub(super) fn reseal(&mut self, after: Option<&str>) -> Result<Value, Failure> {
        self.reach.perform(Operation::StoreReseal { after: after.map(Into::into) })
    }

    /// Puts an act on record; answers what is to be said, which is nothing, unless that was not possible. The act
    /// goes on all the same: a store that takes nothing any more is one that somebody wants to copy.
    pub(super) fn note(&mut self, act: Act) -> String {
        let noted = self.reach.perform(Operation::Note { act });
        noted.err().map(|why| format!(" (not in the audit record: {why})")).unwrap_or_default()
    }

    /// The records after a key, in ascending order, and the key after which there are more.
    pub(super) fn page(&mut self, after: Option<&[u8]>) -> Result<(Vec<Record>, Option<Vec<u8>>), Failure> {
        let after = after.map(|key| STANDARD_NO_PAD.encode(key));
        let answer = self.reach.perform(Operation::StorePage { after })?;
        let garbled = || Failure::new("the host answers with records that do not read; its version differs");
        let bytes = |value: &Value| value.as_str().and_then(|text| STANDARD_NO_PAD.decode(text).ok());
        let record = |row: &Value| {
            let (key, value) = (bytes(&row[0])?, bytes(&row[1])?);
            Some(Record { key, value, expires_at: row[2].as_u64()? })
        };
        let rows = answer["records"].as_array().ok_or_else(garbled)?;
        let records = rows.iter().map(record).collect::<Option<Vec<_>>>().ok_or_else(garbled)?;
        Ok((records, bytes(&answer["next"])))
    }

    /// Every record, once.
    pub(super) fn each(&mut self, mut each: impl FnMut(Record)) -> Result<(), Failure> {
        let mut after = None;
        loop {
            let (records, next) = self.page(after.as_deref())?;
            records.into_iter().for_each(&mut each);
            after = next;
            if after.is_none() {
                return Ok(());
            }
        }
    }
}
