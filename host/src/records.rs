//! How the host's records are written: a format version, then the fields.
use countersign_plugin_api::{Problem, Refusal, StoreError};
use serde::{Serialize, de::DeserializeOwned};

const FORMAT: u8 = 1;

pub(crate) fn encode(record: &impl Serialize) -> Result<Vec<u8>, Refusal> {
    postcard::to_extend(record, vec![FORMAT]).map_err(|error| {
        Refusal::new(Problem::StoreUnavailable).because(format_args!("a record does not encode: {error}"))
    })
}

/// A record of a newer format is left as it is, and the call refused: an older host must not rewrite what it
/// does not understand.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    match bytes.split_first() {
        Some((&FORMAT, rest)) => postcard::from_bytes(rest).map_err(|_| StoreError::Corrupt.into()),
        Some((format, _)) => Err(Refusal::new(Problem::StoreUnavailable)
            .because(format_args!("a record has format {format}, and this host knows {FORMAT}"))),
        None => Err(StoreError::Corrupt.into()),
    }
}
