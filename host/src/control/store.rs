//! The store as a whole: how much it holds, and its records as they are stored.
use super::operation::one;
use crate::kernel::{Call, HOST, Kernel, OUTBOX};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use countersign_plugin_api::Refusal;
use serde_json::{Value, json};

/// Records of a page, and bytes of them: an answer is within its bound with one more of the largest.
const RECORDS: usize = 250;
const BYTES: usize = 2 << 20;
/// As many messages as wait at the most.
const MESSAGES: usize = 1000;

pub(super) async fn usage(kernel: &Kernel) -> Result<Value, Refusal> {
    let usage = kernel.usage()?;
    let outbox = one(kernel, |call| call.scan(HOST, call.place(OUTBOX), b"row", None, MESSAGES)).await?.len();
    Ok(json!({
        "records": usage.records, "max_records": usage.max_records,
        "bytes": usage.bytes, "max_bytes": usage.max_bytes, "outbox": outbox,
    }))
}

pub(super) async fn page(kernel: &Kernel, after: Option<&str>) -> Result<Value, Refusal> {
    let after = place(after)?;
    one(kernel, |call| read(call, after.as_deref())).await
}

pub(super) async fn reseal(kernel: &Kernel, after: Option<&str>) -> Result<Value, Refusal> {
    let done = kernel.reseal(place(after)?.as_deref()).await?;
    Ok(json!({
        "kid": kernel.sealing_kid(), "seen": done.seen, "resealed": done.written, "passed": done.passed,
        "unreadable": done.unreadable, "next": done.next.map(|key| STANDARD_NO_PAD.encode(key)),
    }))
}

/// Where a page begins.
fn place(after: Option<&str>) -> Result<Option<Vec<u8>>, Refusal> {
    let after = after.map(|text| STANDARD_NO_PAD.decode(text)).transpose();
    after.map_err(|_| Refusal::malformed("`after` is no key"))
}

fn read(call: &Call<'_>, after: Option<&[u8]>) -> Result<Value, Refusal> {
    let page = call.stored(after, RECORDS)?;
    let (mut records, mut bytes, mut last) = (Vec::new(), 0, None);
    for (key, record) in page.iter() {
        if bytes > BYTES {
            break;
        }
        bytes += key.len() + record.value.len();
        last = Some(key);
        let text = |bytes: &[u8]| STANDARD_NO_PAD.encode(bytes);
        records.push(json!([text(key), text(record.value), record.expires_at.secs()]));
    }
    let there_is_more = records.len() < page.len() || page.len() == RECORDS;
    let next = last.filter(|_| there_is_more).map(|key| STANDARD_NO_PAD.encode(key));
    Ok(json!({ "records": records, "next": next }))
}
