//! The server on a real socket: room, shutdown, reload.
use super::*;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::oneshot,
    time::{sleep, timeout},
};

/// For what comes at once or never.
const SOON: Duration = Duration::from_secs(30);

/// A server on a real socket, and how to stop it.
struct Running {
    address: SocketAddr,
    routes: Routes,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

fn running(limits: ServerLimits) -> Running {
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), limits).unwrap();
    let (address, routes) = (server.local_addr().unwrap(), routes());
    let (stop, stopped) = oneshot::channel();
    let serving = tokio::spawn(server.run(routes.apps.clone(), async {
        let _ = stopped.await;
    }));
    Running { address, routes, stop, serving }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
    async fn ask(&self, path: &str) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
        stream
    }
}

async fn rest(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// What comes up to `mark`, and so many bytes more.
async fn through(stream: &mut TcpStream, mark: &str, more: usize) -> String {
    let mut answer = String::new();
    while !answer.ends_with(mark) {
        answer.push(char::from(stream.read_u8().await.unwrap()));
    }
    for _ in 0..more {
        answer.push(char::from(stream.read_u8().await.unwrap()));
    }
    answer
}

async fn status(stream: &mut TcpStream) -> String {
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    String::from_utf8(start.to_vec()).unwrap()
}

#[tokio::test]
async fn what_was_begun_is_answered_at_shutdown_and_the_rest_is_closed() {
    let running = running(patient());
    let fresh = running.connect().await;
    let mut partial = running.connect().await;
    partial.write_all(b"GET /which HTTP/1.1\r\nHo").await.unwrap();
    let mut idle = running.ask("/which").await;
    assert_eq!(status(&mut idle).await, "HTTP/1.1 200");
    let waiting = running.ask("/wait").await;
    running.routes.begun.notified().await;

    running.stop.send(()).unwrap();
    assert_eq!(rest(fresh).await, "");
    assert!(rest(idle).await.ends_with("old"));
    // Closed with bytes unanswered: an end or a reset.
    let _ = partial.read(&mut [0; 1]).await.is_ok_and(|read| read > 0);
    let (address, serving) = (running.address, running.serving);
    assert!(TcpStream::connect(address).await.is_err(), "nothing is accepted any more");
    assert!(!serving.is_finished(), "one is still being served");

    running.routes.go.notify_one();
    let answer = rest(waiting).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("waited"), "{answer}");
    serving.await.unwrap();
}

#[tokio::test]
async fn a_request_that_does_not_end_does_not_keep_the_server_from_stopping() {
    let running = running(ServerLimits { drain: Duration::from_millis(10), ..patient() });
    let waiting = running.ask("/wait").await;
    running.routes.begun.notified().await;
    running.stop.send(()).unwrap();
    running.serving.await.unwrap();
    drop(waiting);
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_gets_a_problem_for_more() {
    let running = running(ServerLimits { per_address: 2, ..patient() });
    let mut first = running.ask("/which").await;
    let mut second = running.ask("/which").await;
    assert_eq!(status(&mut first).await, "HTTP/1.1 200");
    assert_eq!(status(&mut second).await, "HTTP/1.1 200");

    let refused = rest(running.connect().await).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.contains("application/problem+json") && refused.contains("retry-after: 1"), "{refused}");
    let body = refused.split("\r\n\r\n").nth(1).unwrap();
    let document: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(document["type"], "urn:countersign:problem:busy");
    assert!(refused.contains(&format!("content-length: {}\r\n", body.len())), "{refused}");

    drop(first);
    loop {
        // Until the server has noticed.
        let mut stream = running.connect().await;
        let _ = stream.write_all(b"GET /which HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut start = [0; 12];
        if stream.read_exact(&mut start).await.is_ok() && start.ends_with(b"200") {
            break;
        }
    }
}

/// Without room in the queue a client's last handshake is dropped: the client has a connection, and the host none.
#[tokio::test]
async fn a_crowd_waits_to_be_accepted() {
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), patient()).unwrap();
    let address = server.local_addr().unwrap();
    let mut crowd = Vec::new();
    for n in 0..400 {
        let connected = timeout(SOON, TcpStream::connect(address)).await;
        crowd.push(connected.unwrap_or_else(|_| panic!("{n} are waiting, and one more may not")).unwrap());
    }
}

/// An answer that fits into the kernel's buffer is none that the server would wait for.
#[tokio::test]
async fn a_client_that_takes_no_byte_is_cut_off_whoever_holds_the_answer() {
    let running = running(ServerLimits { write_timeout: Duration::from_millis(300), ..patient() });
    for path in ["/page", "/large"] {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(1 << 10).unwrap();
        let mut stream = socket.connect(running.address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
        // The kernel drops without a word what is stuck: who sends is told. Whoever sends all the time is heard, and not stuck.
        let cut_off = async {
            let mut quiet = Duration::from_millis(500);
            while stream.write_all(b"x").await.is_ok() {
                sleep(quiet).await;
                quiet *= 2;
            }
        };
        timeout(SOON, cut_off).await.unwrap_or_else(|_| panic!("{path} is kept for ever"));
    }
}

#[tokio::test]
async fn a_reload_changes_what_the_next_request_meets() {
    let running = running(patient());
    let ask = b"GET /which HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut stream = running.connect().await;
    stream.write_all(ask).await.unwrap();
    assert!(through(&mut stream, "\r\n\r\n", 3).await.ends_with("old"));

    let router = Router::new().route("/which", get(|| async { "new" }));
    running.routes.reload.send(Arc::new(App::new(site(), router))).unwrap();
    stream.write_all(ask).await.unwrap();
    let answer = through(&mut stream, "\r\n\r\n", 3).await;
    assert!(answer.ends_with("new"), "the same connection, the new application: {answer}");
}
