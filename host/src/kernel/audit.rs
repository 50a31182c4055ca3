//! Audit rows: who, whose, what, from where, with which result; written with the change they tell of.
use super::{
    call::{Call, Paged, Value},
    place::HOST,
};
use countersign_plugin_api::{Event, Refusal, Secret, StoreError, Time};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where a call comes from.
#[derive(Clone, Default)]
pub struct Origin {
    /// The client's address, as far as it can be trusted; empty for the command line.
    pub peer: String,
    /// The id under which the log speaks of the request.
    pub request: String,
    /// The languages that whoever asks reads, the best first.
    pub(crate) language: String,
    /// Who acts when no session does, such as `cli`.
    pub actor: String,
    /// The cookies of plugins that came along, by plugin and name; none with a bearer token.
    pub(crate) cookies: Vec<(String, Secret<String>)>,
}

/// One event, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When, in seconds since the Unix epoch.
    pub at: u64,
    /// What, with the name of the part that says so: `mfa.totp.verified`.
    pub event: String,
    /// Whether it succeeded.
    pub success: bool,
    /// The account it concerns.
    pub subject: String,
    /// Who did it: an account, or `cli`.
    pub actor: String,
    /// The session that did it.
    pub session: String,
    /// From where.
    pub peer: String,
    /// The request.
    pub request: String,
    /// What else is worth knowing.
    pub fields: BTreeMap<String, String>,
}

/// The group of all audit rows: a home of its own, with ascending keys.
pub(crate) const GROUP: &str = ":audit";

/// What the name of every row starts with; the second of the event and what tells rows of one second apart follow.
const PREFIX: &[u8] = b"row";

/// The events after the row `after`, in the order of their seconds. Looks at `limit` rows.
pub(crate) fn page(call: &Call<'_>, after: Option<&[u8]>, limit: usize) -> Result<Paged<Record>, Refusal> {
    let Paged { records, next } = call.scan_page(HOST, call.place(GROUP), PREFIX, after, limit)?;
    let read = |(name, value): (Vec<u8>, Value)| {
        let record = serde_json::from_slice(&value).map_err(|_| StoreError::Corrupt)?;
        Ok((name, record))
    };
    Ok(Paged { records: records.into_iter().map(read).collect::<Result<_, Refusal>>()?, next })
}

/// Where the rows of an instant start: the name to read after.
pub(crate) fn since(at: Time) -> Vec<u8> {
    [PREFIX, &at.secs().to_be_bytes()].concat()
}

/// Whether it can be the name of a row, or where rows start.
pub(crate) fn is_name(name: &[u8]) -> bool {
    name.starts_with(PREFIX) && name.len() <= PREFIX.len() + 16
}

/// The key and the value of an event.
pub(super) fn row(call: &Call<'_>, view: &str, event: &Event<'_>) -> (Vec<u8>, Vec<u8>) {
    let kernel = call.kernel;
    let caller = call.caller();
    let record = Record {
        at: call.now().secs(),
        event: if view == HOST { event.name.into() } else { format!("{view}.{}", event.name) },
        success: event.success,
        subject: event.subject.into(),
        actor: caller.map_or_else(|| call.origin.actor.clone(), |caller| caller.subject.id.clone()),
        session: caller.map(|caller| caller.session.id.clone()).unwrap_or_default(),
        peer: call.origin.peer.clone(),
        request: call.origin.request.clone(),
        fields: event.fields.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
    };
    let mut name = PREFIX.to_vec();
    name.extend_from_slice(&call.now().secs().to_be_bytes());
    name.extend_from_slice(&kernel.next_row());
    let key = call.place(GROUP).key(HOST, &name);
    (key, serde_json::to_vec(&record).unwrap_or_default())
}
