//! Reads: one answer for each key in order, and scans in the order of bytes.
use super::{Broken, trial::Trial};
use crate::{Expect, Found, Keys, MAX_SCAN, Store, StoreError, Time};
use std::sync::Arc;

/// `get` pushes one answer for each key, in the order of the keys, behind what the buffer already holds.
pub fn get_answers_each_key_in_order(store: &Arc<dyn Store>) -> Result<(), Broken> {
    let t = Trial::new("get_answers_each_key_in_order", store);
    let (a, b, c) = (t.key("a"), t.key_at(1, "b"), t.key("c"));
    t.put(&a, b"", Time::NEVER)?;
    t.put(&c, &[0, 255, 0], t.after(1_000_000))?;
    let asked = [c.clone(), b.clone(), a.clone(), c.clone(), b.clone()];
    let values = [Some(vec![0, 255, 0]), None, Some(vec![]), Some(vec![0, 255, 0]), None];
    t.same("each key's value or none, in order", values.to_vec(), t.values(&asked)?)?;
    let expires_at: Vec<_> = t.read_all(&[a.clone(), c.clone()])?.into_iter().flatten().collect();
    let expires_at: Vec<_> = expires_at.iter().map(|held| held.expires_at).collect();
    t.same("the expiry as it was put", vec![Time::NEVER, t.after(1_000_000)], expires_at)?;
    t.same("no answer for no key", 0, t.values(&[])?.len())?;
    t.same("nothing under a key that only starts alike", None, t.read(&t.key("a "))?)?;

    let (mut keys, mut found) = (Keys::new(), Found::new());
    keys.push(&a);
    t.try_read(&keys, &mut found)?;
    t.try_read(&keys, &mut found)?;
    t.same("answers behind those already there", 2, found.len())?;

    let many: Vec<_> = (0..MAX_SCAN as u64).map(|n| t.key_at(n, "many")).collect();
    t.same("as many answers as keys", MAX_SCAN, t.values(&many)?.len())?;
    let mut keys = Keys::new();
    many.iter().chain([&a]).for_each(|key| keys.push(key));
    let outcome = store.get(&keys, &mut Found::new());
    t.same("more keys than the bound", Err(StoreError::Unavailable), outcome)
}

/// Ascending byte order, strictly after `after`, at most `limit`.
pub fn scan_follows_byte_order(store: &Arc<dyn Store>) -> Result<(), Broken> {
    let t = Trial::new("scan_follows_byte_order", store);
    // Neither by length, nor by signed bytes, nor as text.
    let mut names: Vec<&[u8]> =
        vec![b"b", b"a", b"aa", b"a\0", b"\x80", b"\x7f", b"\xff", b"\0", b"B", b"10", b"9"];
    for name in &names {
        t.put(&t.key(name), name, Time::NEVER)?;
    }
    names.sort_unstable();
    let keys: Vec<_> = names.iter().map(|name| t.key(name)).collect();
    let home = t.key("");
    t.same("byte order", keys.clone(), t.scanned_keys(&home, None, MAX_SCAN)?)?;
    let values: Vec<Vec<u8>> =
        t.scan(&home, None, MAX_SCAN)?.into_iter().map(|(_, held)| held.value).collect();
    t.same("each key with its own value", names.iter().map(|name| name.to_vec()).collect(), values)?;
    for (at, key) in keys.iter().enumerate() {
        t.same("strictly after", keys[at + 1..].to_vec(), t.scanned_keys(&home, Some(key), MAX_SCAN)?)?;
        t.same("at most the limit", keys[..at].to_vec(), t.scanned_keys(&home, None, at)?)?;
    }
    let between = t.key("a\0\0");
    let rest: Vec<_> = keys.iter().filter(|key| **key > between).cloned().collect();
    t.same("after a key that is not there", rest, t.scanned_keys(&home, Some(&between), MAX_SCAN)?)?;
    t.same("after a key before the prefix", keys.clone(), t.scanned_keys(&home, Some(&[0]), MAX_SCAN)?)?;
    t.same("after the empty key", keys, t.scanned_keys(&home, Some(&[]), MAX_SCAN)?)?;
    let behind = [home.as_slice(), &[255; 20]].concat();
    t.same("after everything", Vec::new(), t.scanned_keys(&home, Some(&behind), MAX_SCAN)?)
}

/// Only keys that start with the prefix, also where it ends in 0xff or is longer or shorter than a home.
pub fn scan_stays_under_its_prefix(store: &Arc<dyn Store>) -> Result<(), Broken> {
    let t = Trial::new("scan_stays_under_its_prefix", store);
    let names: [&[u8]; 9] =
        [b"p", b"p\0", b"p\xfe", b"p\xff", b"p\xff\0", b"p\xff\xff", b"p\xff\xff\x01", b"q", b"o\xff"];
    for name in names {
        t.put(&t.key(name), name, Time::NEVER)?;
    }
    for prefix in [&b"p"[..], b"p\xff", b"p\xff\xff", b"p\xff\xff\xff", b"q", b"o", b"r", b""] {
        let mut expected: Vec<_> =
            names.iter().filter(|name| name.starts_with(prefix)).map(|name| t.key(name)).collect();
        expected.sort();
        t.same("the keys under the prefix", expected, t.scanned_keys(&t.key(prefix), None, MAX_SCAN)?)?;
    }
    // A key lies between `after` and the prefix, and is under neither.
    let page = t.scanned_keys(&t.key("p\0"), Some(&t.key("n")), MAX_SCAN)?;
    t.same("after a key before the prefix", vec![t.key("p\0")], page)?;
    // Homes side by side under a short prefix, for stores that split their keys by home.
    let short = t.key("")[..6].to_vec();
    let mut neighbours: Vec<Vec<u8>> =
        (0..40u8).map(|n| [&short[..], &[n.wrapping_mul(97), n], b"x"].concat()).collect();
    for key in &neighbours {
        t.put(key, b"", Time::NEVER)?;
    }
    neighbours.extend(names.iter().map(|name| t.key(name)));
    neighbours.sort();
    neighbours.dedup();
    t.same("all homes in one order", neighbours.clone(), t.scanned_keys(&short, None, MAX_SCAN)?)?;
    let page = t.scanned_keys(&short, Some(&neighbours[10]), 7)?;
    t.same("a page across homes", neighbours[11..18].to_vec(), page)?;

    // No byte string is greater than all that start with this one, so there is no "end of the range".
    let last = [&[255; 9][..], &t.key("")].concat();
    t.put(&last, b"", Time::NEVER)?;
    for prefix in [&[255][..], &[255; 8], &[255; 9]] {
        let mut keys = t.scanned_keys(prefix, None, MAX_SCAN)?;
        t.holds("every key under the prefix", keys.iter().all(|key| key.starts_with(prefix)), "another")?;
        keys.retain(|key| *key == last);
        t.same("a key of nothing but 0xff in front", vec![last.clone()], keys)?;
    }
    let mut batch = t.batch();
    batch.delete(&last, Expect::Any);
    t.accepts("a deletion", batch)
}

/// Going on after the last key of each page meets every key once; no page is longer than the bound.
pub fn scan_pages_through_everything(store: &Arc<dyn Store>) -> Result<(), Broken> {
    let t = Trial::new("scan_pages_through_everything", store);
    let mut made: Vec<Vec<u8>> = (0..1100).map(|n| t.key_at(n % 50, n.to_string())).collect();
    for some in made.chunks(32) {
        let mut batch = t.batch();
        some.iter().for_each(|key| batch.put(key, Expect::Absent, b"x", Time::NEVER));
        t.accepts("a batch of 32 puts", batch)?;
    }
    made.sort();
    for limit in [97, MAX_SCAN] {
        let (mut met, mut after): (Vec<Vec<u8>>, Option<Vec<u8>>) = (Vec::new(), None);
        loop {
            let page = t.scanned_keys(b"", after.as_deref(), limit)?;
            t.holds("no page beyond its limit", page.len() <= limit, page.len())?;
            let Some(last) = page.last() else { break };
            after = Some(last.clone());
            met.extend(page);
        }
        t.holds("ascending keys, none twice", met.is_sorted_by(|a, b| a < b), "another order")?;
        let ours = met.into_iter().filter(|key| made.binary_search(key).is_ok()).count();
        t.same("every key met", made.len(), ours)?;
    }
    let mut page = crate::Page::new();
    match store.scan(b"", None, MAX_SCAN + 1, &mut page) {
        Err(StoreError::Unavailable) => Ok(()),
        outcome => t.same("a limit beyond the bound", (Ok(()), MAX_SCAN), (outcome, page.len())),
    }
}
