//! What the disk was asked to keep before each acknowledgement.
use super::Run;
use crate::{http::Client, people::Person, trace::Trace};
use anyhow::Result;
use countersign_test_kit::Site;
use serde_json::json;

/// The calls that write, and those that answer.
const CALLS: &str = "trace=fdatasync,fsync,pwrite64,write,writev,sendto,sendmsg,recvfrom,read,ftruncate";

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let writes = run.scale.of(500, 20);
    let host = Site::with_store("sqlite").start();
    let to = host.address();
    let client = run
        .runtime
        .block_on(async { Ok::<_, anyhow::Error>(Person::register(to, "trace").await?.client(to)) })?;
    let trace = Trace::attach(host.server().id(), &host.site().path("trace"), &["-s", "64", "-e", CALLS])?;
    let acknowledged = run.runtime.block_on(sequence(client, writes))?;
    let text = trace.end()?;
    let Order { answers, unsynced } = order(&text);
    let measured = format!("{} of {answers} answers, {acknowledged} acknowledged", unsynced.len());
    let told = unsynced.first().map(|first| format!("; first: {first}")).unwrap_or_default();
    run.report.check(
        ("faults", "R51"),
        "every acknowledgement follows an fdatasync that began after its write: 0 do not",
        format!("{measured}{told}"),
        unsynced.is_empty() && answers >= acknowledged && acknowledged == writes,
    );
    host.stop();
    Ok(())
}

/// One write after the other: the order of system calls is then that of the requests.
async fn sequence(mut client: Client, writes: usize) -> Result<usize> {
    let mut acknowledged = 0;
    for _ in 0..writes {
        acknowledged += usize::from(client.post("/mfa/totp/enroll", &json!({})).await?.status == 201);
    }
    Ok(acknowledged)
}

struct Order {
    answers: usize,
    unsynced: Vec<String>,
}

/// Reads the trace: since the request before, the log was written, and then synced, before the answer left.
fn order(trace: &str) -> Order {
    let (mut dirty, mut written, mut syncing) = (false, false, Vec::<(String, bool)>::new());
    let mut order = Order { answers: 0, unsynced: Vec::new() };
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(char::is_whitespace) else { continue };
        let call = call.trim_start();
        let of_log = call.contains("countersign.db");
        if call.starts_with("pwrite64(") && of_log {
            (dirty, written) = (true, true);
            // What is being synced by others does not promise this write.
            syncing.iter_mut().for_each(|(_, covers)| *covers = false);
        } else if (call.starts_with("fdatasync(") || call.starts_with("fsync(")) && of_log {
            if call.ends_with("= 0") {
                dirty = false;
            } else if call.contains("<unfinished") {
                syncing.push((thread.to_owned(), true));
            }
        } else if call.contains("sync resumed>") && call.ends_with("= 0") {
            if let Some(at) = syncing.iter().position(|(by, _)| by == thread) {
                let (_, covers) = syncing.remove(at);
                dirty &= !covers;
            }
        } else if call.contains("HTTP/1.1 201") {
            order.answers += 1;
            if dirty || !written {
                order.unsynced.push(line.chars().take(120).collect());
            }
            written = false;
        }
    }
    order
}
