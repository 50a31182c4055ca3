//! What waits, as an operator sees it: whose it is and how it stands, never what it says.
use super::{GROUP, Kernel, MOST, PREFIX, Row, kept_until};
use crate::{
    kernel::{HOST, Origin, call::Value as Bytes, hex},
    records::{decode, encode},
};
use countersign_plugin_api::{Event, Problem, Refusal, Time};
use serde_json::{Value, json};

/// The bytes of a row's name that tell it from all others; the id of its message is made of them.
const ID: usize = 16;

impl Kernel {
    /// All messages that wait, the oldest first.
    pub(crate) async fn waiting_messages(&self) -> Result<Value, Refusal> {
        let shown = |(id, name, row): (String, Vec<u8>, Row)| {
            let queued = name[PREFIX.len()..].first_chunk().map_or(0, |secs| u64::from_be_bytes(*secs));
            let time = |secs| Time::from_secs(secs).to_string();
            json!({
                "id": id,
                "mail": row.template,
                "to": row.to,
                "account": row.subject_id,
                "queued_at": time(queued),
                "expires_at": time(row.expires_at),
                "tries": row.tries,
                "sending": row.claimed,
                "next_try_at": (!row.claimed).then(|| time(row.next_at)),
                "last_error": (!row.why.is_empty()).then_some(row.why),
            })
        };
        Ok(self.rows_that_wait().await?.into_iter().map(shown).collect())
    }

    /// Brings the next try of a message, or of all, forward to now. One that is being sent is left alone, and none is
    /// tried after its life. Answers the ids of those that are tried.
    pub(crate) async fn retry_messages(&self, id: Option<&str>) -> Result<Vec<String>, Refusal> {
        let rows = self.rows_that_wait().await?;
        if let Some(id) = id {
            let found = rows.iter().find(|(known, ..)| known == id);
            let (_, _, row) = found.ok_or_else(|| {
                Refusal::new(Problem::NotFound).saying(format_args!("no message `{id}` waits to be sent"))
            })?;
            if row.claimed {
                return Err(Refusal::new(Problem::Conflict).saying(format_args!("`{id}` is being sent now")));
            }
        }
        let origin = Origin { actor: "cli".into(), ..Origin::default() };
        let mut retried = Vec::new();
        for (known, name, _) in rows.into_iter().filter(|(known, ..)| id.is_none_or(|id| id == known)) {
            let key = self.places.of(GROUP).key(HOST, &name);
            let due = self
                .run(&origin, |call| {
                    let Some(bytes) = call.read(key.clone())? else { return Ok(false) };
                    let row: Row = decode(&bytes)?;
                    let expires_at = Time::from_secs(row.expires_at);
                    if row.claimed || expires_at <= call.now() {
                        return Ok(false);
                    }
                    let event = Event::success("mail.retried", &row.subject_id);
                    super::record(call, event.with("template", &row.template));
                    let row = Row { next_at: call.now().secs(), ..decode(&bytes)? };
                    call.put(key.clone(), &encode(&row)?, kept_until(expires_at), false)?;
                    Ok(true)
                })
                .await?;
            if due {
                self.outbox.hurry(key);
                retried.push(known);
            }
        }
        Ok(retried)
    }

    async fn rows_that_wait(&self) -> Result<Vec<(String, Vec<u8>, Row)>, Refusal> {
        let origin = Origin { actor: "outbox".into(), ..Origin::default() };
        let rows = self.run(&origin, |call| call.scan(HOST, call.place(GROUP), PREFIX, None, MOST)).await?;
        let now = self.now();
        let read = |(name, value): (Vec<u8>, Bytes)| {
            let row: Row = decode(&value)?;
            Ok((hex(&name[name.len() - ID..]), name, row))
        };
        let rows = rows.into_iter().map(read).collect::<Result<Vec<_>, Refusal>>()?;
        Ok(rows.into_iter().filter(|(_, _, row)| now < Time::from_secs(row.expires_at)).collect())
    }
}
