//! The whole way, over real sockets or over a pipe that shows how much the server took.
use super::{connection, door::Door, *};
use axum::{
    Router,
    routing::{get, post},
};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{DuplexStream, duplex},
    sync::{Notify, watch},
    task::JoinHandle,
};

mod framing;
mod sockets;
mod time;

const HOUR: Duration = Duration::from_hours(1);

/// No limit strikes, unless a test sets one.
fn patient() -> ServerLimits {
    ServerLimits {
        head_timeout: HOUR,
        body_timeout: HOUR,
        idle_timeout: HOUR,
        write_timeout: HOUR,
        drain: HOUR,
        ..ServerLimits::default()
    }
}

/// Routes that need no waiting, and `/wait`, which tells `begun` and waits for `go`.
struct Routes {
    apps: watch::Receiver<Arc<App>>,
    reload: watch::Sender<Arc<App>>,
    begun: Arc<Notify>,
    go: Arc<Notify>,
}

fn site() -> Site {
    Site::new("http://127.0.0.1", &["a".into()], |_| false).unwrap()
}

fn routes() -> Routes {
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let wait = {
        let (begun, go) = (Arc::clone(&begun), Arc::clone(&go));
        move || {
            let (begun, go) = (Arc::clone(&begun), Arc::clone(&go));
            async move {
                begun.notify_one();
                go.notified().await;
                "waited"
            }
        }
    };
    let router = Router::new()
        .route("/length", post(|call: Call| async move { call.body.len().to_string() }))
        .route("/large", get(|| async { "x".repeat(4 << 20) }))
        .route("/page", get(|| async { "x".repeat(20 << 10) }))
        .route("/wait", get(wait))
        .route("/which", get(|| async { "old" }));
    let (reload, apps) = watch::channel(Arc::new(App::new(site(), router)));
    Routes { apps, reload, begun, go }
}

/// One connection over a pipe that holds one byte: what is written has been taken.
fn pipe(limits: ServerLimits) -> (DuplexStream, JoinHandle<()>) {
    pipe_of(limits, 1)
}

fn pipe_of(limits: ServerLimits, room: usize) -> (DuplexStream, JoinHandle<()>) {
    let (client, server) = duplex(room);
    let (keep, closing) = watch::channel(false);
    let apps = routes().apps;
    let serving = tokio::spawn(async move {
        connection::serve(server, "127.0.0.1".parse().unwrap(), limits, Door::new(112), apps, closing).await;
        drop(keep);
    });
    (client, serving)
}

fn statuses(answers: &str) -> Vec<&str> {
    answers.match_indices("HTTP/1.1 ").map(|(at, start)| &answers[at + start.len()..][..3]).collect()
}

const JSON: &str = "Host: a\r\nContent-Type: application/json\r\n";
