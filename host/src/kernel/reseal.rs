//! Records written anew under the key that seals now, while requests are served.
//!
//! Each is written under the condition that it is still as it was read. Where it is not, somebody else has written it, and that
//! sealed it with the new key, or it was begun before and the next pass finds it.
use super::{Kernel, seal::Seal};
use countersign_plugin_api::{Batch, Expect, MAX_OPS, Page, Record, Refusal, StoreError, Time};
use zeroize::Zeroizing;

/// Records that one step looks at.
const RECORDS: usize = 8 * MAX_OPS;

/// What one step did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Resealed {
    /// Records that it looked at.
    pub(crate) seen: u64,
    /// Those that it sealed anew.
    pub(crate) written: u64,
    /// Those that somebody else wrote meanwhile.
    pub(crate) passed: u64,
    /// Those that do not open.
    pub(crate) unreadable: u64,
    /// The key after which there are more.
    pub(crate) next: Option<Vec<u8>>,
}

/// A record, opened.
struct Opened<'p> {
    key: &'p [u8],
    value: Zeroizing<Vec<u8>>,
    version: u64,
    expires_at: Time,
}

impl Kernel {
    /// The id of the key that seals.
    pub(crate) fn sealing_kid(&self) -> String {
        super::hex(&self.seal.kid())
    }

    /// Seals anew what another key has sealed, among the next records after a key.
    pub(crate) async fn reseal(&self, after: Option<&[u8]>) -> Result<Resealed, Refusal> {
        let mut page = Page::new();
        self.attend(|| self.store.scan(&[], after, RECORDS, &mut page))??;
        let full = page.len() == RECORDS;
        let next = full.then(|| page.at(RECORDS - 1).map(|(key, _)| key.to_vec())).flatten();
        let mut done = Resealed { seen: page.len() as u64, next, ..Resealed::default() };
        let mut stale = Vec::new();
        let (kid, now) = (self.seal.kid(), self.now());
        // One that has expired is absent to a batch, and to everybody else.
        for (key, record) in page.iter().filter(|(_, record)| record.expires_at > now) {
            if Seal::kid_in(record.value) == Some(kid) {
                continue;
            }
            match self.opened(key, record) {
                Some(opened) => stale.push(opened),
                None => done.unreadable += 1,
            }
        }
        for some in stale.chunks(MAX_OPS) {
            match self.apply(self.sealed_anew(some)).await {
                Ok(()) => done.written += some.len() as u64,
                Err(StoreError::Conflict) => {
                    for one in some {
                        match self.apply(self.sealed_anew(std::slice::from_ref(one))).await {
                            Ok(()) => done.written += 1,
                            Err(StoreError::Conflict) => done.passed += 1,
                            Err(error) => return Err(error.into()),
                        }
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(done)
    }

    fn opened<'p>(&self, key: &'p [u8], record: Record<'_>) -> Option<Opened<'p>> {
        let mut value = Zeroizing::new(record.value.to_vec());
        let plain = self.seal.open(key, &mut value)?;
        let value = Zeroizing::new(value[plain].to_vec());
        Some(Opened { key, value, version: record.version, expires_at: record.expires_at })
    }

    fn sealed_anew(&self, records: &[Opened<'_>]) -> Batch {
        let mut batch = Batch::new(self.now());
        for Opened { key, value, version, expires_at } in records {
            batch.put_with(key, Expect::Version(*version), *expires_at, Seal::len(value.len()), |out| {
                self.seal.seal(key, value, out);
            });
        }
        batch
    }
}
