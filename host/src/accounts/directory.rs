//! The directory: accounts in pages, and the end of one.
use super::{Account, DIRECTORY, Email, Entry, RECORD, key};
use crate::{
    kernel::{Call, HOST},
    records::decode,
};
use countersign_plugin_api::Refusal;

const PREFIX: &[u8] = b"email";
/// How many entries are looked at in one go, and how often, before a page is given with what was found.
const ENTRIES: usize = 500;
const ROUNDS: usize = 10;

/// Up to `limit` accounts whose address contains `query`, in no order that means anything; and where the next
/// page starts.
pub(crate) fn search(
    call: &Call<'_>,
    query: &str,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<(Vec<Account>, Option<Vec<u8>>), Refusal> {
    let query = query.trim().to_lowercase();
    // A whole address is looked up; keyed hashes are no way to look for part of one.
    if let (None, Ok(email)) = (after, Email::parse(&query))
        && let Some(account) = super::by_email(call, &email)?
    {
        return Ok((vec![account], None));
    }
    let (mut accounts, mut after) = (Vec::new(), after.map(<[u8]>::to_vec));
    for _ in 0..ROUNDS {
        let page = call.scan_page(HOST, call.place(DIRECTORY), PREFIX, after.as_deref(), ENTRIES)?;
        for (name, entry) in page.records {
            let entry: Entry = decode(&entry)?;
            if !entry.email.to_lowercase().contains(&query) {
                continue;
            }
            accounts.extend(shown(call, &entry.id)?);
            if accounts.len() == limit {
                return Ok((accounts, Some(name)));
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok((accounts, after))
}

/// The account of that id, only to be shown: a page of them is more than the batch of one call could require
/// unchanged, and that the page was read is put on record.
fn shown(call: &Call<'_>, id: &str) -> Result<Option<Account>, Refusal> {
    let found = call.scan(HOST, call.place(id), RECORD, None, 1)?;
    found.first().map(|(_, account)| decode(account)).transpose()
}

/// Whether a page can start there.
pub(crate) fn is_place(name: &[u8]) -> bool {
    name.starts_with(PREFIX) && name.len() == PREFIX.len() + 16
}

/// Removes an account and its entry.
pub(crate) fn remove(call: &Call<'_>, account: &Account) -> Result<(), Refusal> {
    for key in [Email::parse(&account.email)?.key(call), key(call, &account.id)] {
        if call.read(key.clone())?.is_some() {
            call.delete(key)?;
        }
    }
    Ok(())
}
