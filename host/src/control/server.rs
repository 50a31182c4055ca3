//! The host's end of the control socket.
use super::{DataDir, Diagnosis, MAX_REQUEST, Operation, Refused, SOCKET, diagnosis, perform};
use crate::{kernel::answered, serving::Serving};
use countersign_plugin_api::Refusal;
use rustix::process::geteuid;
use serde_json::{Value, json};
use std::{
    fs::{self, Permissions},
    future::Future,
    io,
    os::unix::fs::PermissionsExt,
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    task::JoinSet,
    time::{sleep, timeout},
};

/// Connections at once; more wait.
const AT_ONCE: usize = 8;
/// For a request to come, and for an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(10);

/// A bound control socket.
pub(crate) struct Control(UnixListener);

impl Control {
    /// Binds it. That the directory is ours alone means that a socket in it is stale.
    pub(crate) fn bind(data_dir: &DataDir) -> io::Result<Self> {
        let folder = data_dir.folder();
        let path = folder.path.join(SOCKET);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let listener = UnixListener::bind(folder.short(SOCKET))?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(Self(listener))
    }

    /// Takes commands until `shutdown` is done, and finishes those that were begun.
    pub(crate) async fn run(self, serving: Arc<Serving>, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let mut commands = JoinSet::new();
        loop {
            let full = commands.len() >= AT_ONCE;
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(_) = commands.join_next() => {}
                accepted = self.0.accept(), if !full => match accepted {
                    Ok((stream, _)) => { commands.spawn(serve(stream, serving.clone())); }
                    Err(error) => {
                        tracing::error!(target: "countersign::control", %error, "a command could not be accepted");
                        sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        }
        drop(self.0);
        while commands.join_next().await.is_some() {}
    }
}

async fn serve(stream: UnixStream, serving: Arc<Serving>) {
    // The socket's mode keeps others out already; this holds where a file system ignores it.
    match stream.peer_cred() {
        Ok(peer) if [0, geteuid().as_raw()].contains(&peer.uid()) => {}
        Ok(peer) => {
            tracing::warn!(target: "countersign::control", uid = peer.uid(), "a command of another user was refused");
            return;
        }
        Err(error) => {
            tracing::warn!(target: "countersign::control", %error, "a command of nobody known was refused");
            return;
        }
    }
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut bounded = BufReader::new(read.take(MAX_REQUEST));
    let received = timeout(PATIENCE, bounded.read_line(&mut line)).await;
    if !matches!(received, Ok(Ok(_))) || !line.ends_with('\n') {
        return;
    }
    let outcome = match serde_json::from_str::<Operation>(&line) {
        Ok(Operation::Reload) => serving.reload().await,
        Ok(Operation::ReloadKeys) => serving.reload_keys().await,
        // It waits for the relay longer than a decision may for a plugin.
        Ok(Operation::Diagnose) => Ok(diagnose(&serving).await),
        Ok(operation) => {
            let host = serving.host();
            let performed = async move { perform(&host.kernel, operation).await };
            answered(performed).await.unwrap_or_else(|overdue| Err(Refusal::from(overdue).into()))
        }
        Err(error) => {
            let message = format!("this host does not know the command, so its version differs: {error}");
            Err(Refused { problem: "malformed".into(), message })
        }
    };
    zeroize::Zeroize::zeroize(&mut line);
    let mut answer = answer(outcome).to_string();
    answer.push('\n');
    // Who does not take the answer has gone; what was done is done.
    let _ = timeout(PATIENCE, write.write_all(answer.as_bytes())).await;
}

async fn diagnose(serving: &Serving) -> Value {
    json!(Diagnosis { reload: serving.refused(), ..diagnosis::of(&serving.host().kernel).await })
}

fn answer(outcome: Result<Value, Refused>) -> Value {
    match outcome {
        Ok(done) => json!({ "done": done }),
        Err(refused) => json!({ "refused": refused }),
    }
}
