//! Accepts connections within bounds, and stops without breaking off what was begun.
use super::{app::App, connection, door::Door, problem, slots::Slots};
use crate::metrics::CONNECTIONS_REFUSED;
use countersign_plugin_api::{Problem, Refusal};
use rustix::net::sockopt::set_tcp_user_timeout;
use std::{
    fmt::Write as _,
    future::Future,
    io::{self, Write as _},
    net::{Shutdown, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

/// How much, and for how long, clients may keep a server busy.
#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// Connections at once. Each needs a file descriptor.
    pub max_connections: usize,
    /// Connections at once from one address (of IPv6, one /64), trusted proxies exempt.
    pub per_address: usize,
    /// Requests that are begun at once; more wait for a tenth of a second, or until one of them is answered.
    pub requests: usize,
    /// For the head of a request: from its first byte, or from the start of a new connection.
    pub head_timeout: Duration,
    /// For the body of a request, as a whole.
    pub body_timeout: Duration,
    /// Between two requests on one connection.
    pub idle_timeout: Duration,
    /// For a client to take any byte of an answer.
    pub write_timeout: Duration,
    /// For what was begun to be answered, once the server is told to stop.
    pub drain: Duration,
}

impl ServerLimits {
    /// For the host itself.
    pub const DEFAULT: Self = Self {
        max_connections: 4096,
        per_address: 256,
        requests: 112,
        head_timeout: TEN,
        body_timeout: TEN,
        // Longer than the 60 s for which proxies keep a connection, so that they are the ones to close it.
        idle_timeout: Duration::from_secs(75),
        write_timeout: TEN,
        drain: TEN,
    };
}

const TEN: Duration = Duration::from_secs(10);

/// How many may wait to be accepted: as many as the kernel lets (`net.core.somaxconn`). Who finds that queue full may take
/// itself for connected to a host that has never heard of it.
const BACKLOG: u32 = 4096;
/// Bytes of answers that the kernel keeps for one connection, twice with its own: room for all but the longest. Left to
/// itself it keeps megabytes for a client that does not read.
const SEND_BUFFER: u32 = 64 << 10;

impl Default for ServerLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A bound socket that will serve HTTP/1.1.
pub struct Server {
    listener: TcpListener,
    limits: ServerLimits,
}

impl Server {
    /// Binds `address`. Must be called on the event loop.
    pub fn bind(address: SocketAddr, limits: ServerLimits) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        // Connections have from their listener what is set here.
        socket.set_send_buffer_size(SEND_BUFFER)?;
        // What the kernel has taken over it would offer for minutes, also when the connection is closed.
        set_tcp_user_timeout(&socket, u32::try_from(limits.write_timeout.as_millis()).unwrap_or(u32::MAX))?;
        socket.bind(address)?;
        Ok(Self { listener: socket.listen(BACKLOG)?, limits })
    }

    /// The address that is bound, with the real port where port 0 was asked for.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown` is done: then accepts no more, ends idle connections, answers what was begun,
    /// and returns at the latest after [`ServerLimits::drain`].
    ///
    /// Each request is answered by the application that `app` holds when it begins, so a reload replaces it
    /// without dropping any.
    pub async fn run(self, app: watch::Receiver<Arc<App>>, shutdown: impl Future<Output = ()>) {
        let slots = Slots::new(self.limits.max_connections, self.limits.per_address);
        let door = Door::new(self.limits.requests);
        let (closing, close) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut sheds = Sheds::new();
        let mut shutdown = pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    after_failed_accept(&error).await;
                    continue;
                }
            };
            let address = peer.ip().to_canonical();
            let exempt = app.borrow().site().trusts(address);
            let Some(slot) = slots.take(address, exempt) else {
                sheds.refuse(stream, peer);
                continue;
            };
            // Answers are small and complete: waiting for more to send would only delay them.
            let _ = stream.set_nodelay(true);
            let (limits, door, app, close) = (self.limits, door.clone(), app.clone(), close.clone());
            connections.spawn(async move {
                connection::serve(stream, address, limits, door, app, close).await;
                drop(slot);
            });
        }
        drop(self.listener);
        let _ = closing.send(true);
        let drained = timeout(self.limits.drain, async { while connections.join_next().await.is_some() {} });
        if drained.await.is_err() {
            let left = connections.len();
            tracing::warn!(target: "countersign::http", left, "connections were broken off at shutdown");
        }
    }
}

/// Some errors concern only the connection that was about to be; out of descriptors or memory, accepting
/// again at once would spin.
async fn after_failed_accept(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if !matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
        tracing::error!(target: "countersign::http", %error, "a connection could not be accepted");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Turns away connections for which there is no room, and says so now and then.
struct Sheds {
    answer: String,
    count: u64,
    told: Option<Instant>,
}

impl Sheds {
    fn new() -> Self {
        let (status, body) = problem::document(&Refusal::new(Problem::Busy));
        let mut answer = format!("HTTP/1.1 {status}\r\ncontent-type: {}\r\n", problem::CONTENT_TYPE);
        let _ =
            write!(answer, "content-length: {}\r\nretry-after: 1\r\ncache-control: no-store\r\n", body.len());
        let _ = write!(answer, "connection: close\r\n\r\n{body}");
        Self { answer, count: 0, told: None }
    }

    fn refuse(&mut self, stream: TcpStream, peer: SocketAddr) {
        // One attempt: it fits the empty buffer of a new socket, and who does not take it is not waited for.
        if let Ok(mut stream) = stream.into_std() {
            let _ = stream.write(self.answer.as_bytes());
            let _ = stream.shutdown(Shutdown::Write);
        }
        CONNECTIONS_REFUSED.count("");
        self.count += 1;
        if self.told.is_none_or(|told| told.elapsed() > Duration::from_secs(10)) {
            self.told = Some(Instant::now());
            let count = std::mem::take(&mut self.count);
            tracing::warn!(target: "countersign::http", %peer, count, "no room for connections");
        }
    }
}
