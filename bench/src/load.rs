//! The client: one thread, so many connections that are kept open, one request at a time on each.
use crate::process;
use anyhow::{Context, Result, ensure};
use std::{
    cell::{Cell, RefCell},
    io::{self, ErrorKind},
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::LocalSet,
};

/// As many as the goals are stated for.
pub(crate) const CONNECTIONS: usize = 64;

/// What is asked of which process, and how often.
#[derive(Clone, Copy)]
pub(crate) struct Load<'a> {
    pub(crate) to: SocketAddr,
    pub(crate) process: u32,
    pub(crate) connections: usize,
    pub(crate) requests: &'a [Vec<u8>],
    /// The status that every answer must have.
    pub(crate) status: u16,
}

/// What came of it.
pub(crate) struct Ran {
    pub(crate) took: Duration,
    /// What the server's process has used meanwhile.
    pub(crate) cpu: Duration,
    /// Of each answer, from the first byte sent to the last byte read; ascending.
    pub(crate) latencies: Vec<Duration>,
    /// The bodies, in the order of the requests. Of requests that were sent over and over none is kept.
    pub(crate) bodies: Vec<Vec<u8>>,
}

impl Load<'_> {
    /// Sends each request once.
    pub(crate) fn each(&self) -> Result<Ran> {
        self.run(None)
    }
    /// Sends all of them over and over for that long.
    pub(crate) fn during(&self, time: Duration) -> Result<Ran> {
        self.run(Some(time))
    }

    fn run(&self, time: Option<Duration>) -> Result<Ran> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        LocalSet::new().block_on(&runtime, self.exchange_all(time))
    }

    async fn exchange_all(&self, time: Option<Duration>) -> Result<Ran> {
        let mut streams = Vec::new();
        for _ in 0..self.connections {
            let stream = TcpStream::connect(self.to).await.context("the server takes no connection")?;
            stream.set_nodelay(true)?;
            streams.push(stream);
        }
        let kept = if time.is_none() { self.requests.len() } else { 0 };
        let shared = Rc::new(Shared {
            next: Cell::new(0),
            bodies: RefCell::new(vec![Vec::new(); kept]),
            latencies: RefCell::new(Vec::new()),
        });
        // Borrowed requests cannot go into tasks, which are 'static; the copy is made before time is taken.
        let requests: Rc<[Vec<u8>]> = self.requests.into();
        let (before, begun) = (process::cpu(self.process)?, Instant::now());
        let until = time.map(|time| begun + time);
        let tasks: Vec<_> = streams
            .into_iter()
            .map(|stream| {
                let worker = Worker { stream, shared: shared.clone(), requests: requests.clone(), until };
                tokio::task::spawn_local(worker.work(self.status))
            })
            .collect();
        for task in tasks {
            task.await??;
        }
        let took = begun.elapsed();
        let cpu = process::cpu(self.process)?.saturating_sub(before);
        let shared = Rc::into_inner(shared).context("a task of the client is left")?;
        let mut latencies = shared.latencies.into_inner();
        ensure!(!latencies.is_empty(), "nothing was asked");
        latencies.sort_unstable();
        Ok(Ran { took, cpu, latencies, bodies: shared.bodies.into_inner() })
    }
}

struct Shared {
    next: Cell<usize>,
    bodies: RefCell<Vec<Vec<u8>>>,
    latencies: RefCell<Vec<Duration>>,
}

struct Worker {
    stream: TcpStream,
    shared: Rc<Shared>,
    requests: Rc<[Vec<u8>]>,
    until: Option<Instant>,
}

impl Worker {
    async fn work(mut self, status: u16) -> Result<()> {
        let mut buffer = Vec::with_capacity(8192);
        loop {
            let at = self.shared.next.get();
            let is_over = match self.until {
                Some(until) => Instant::now() >= until,
                None => at >= self.requests.len(),
            };
            if is_over {
                return Ok(());
            }
            self.shared.next.set(at + 1);
            let begun = Instant::now();
            let request = &self.requests[at % self.requests.len()];
            self.stream.write_all(request).await?;
            let (seen, body) = answer(&mut self.stream, &mut buffer).await?;
            self.shared.latencies.borrow_mut().push(begun.elapsed());
            let body = &buffer[body..];
            let shown = || String::from_utf8_lossy(body).into_owned();
            ensure!(seen == status, "{seen} instead of {status}: {}", shown());
            if let Some(kept) = self.shared.bodies.borrow_mut().get_mut(at) {
                body.clone_into(kept);
            }
        }
    }
}

/// Reads an answer with a length: its status, and where its body begins.
async fn answer(from: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<(u16, usize)> {
    buffer.clear();
    loop {
        if from.read_buf(buffer).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&buffer[..end]).map_err(|_| ErrorKind::InvalidData)?;
        let field = |line: &str| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        };
        let length = head.lines().find_map(field).unwrap_or(0);
        if buffer.len() >= end + 4 + length {
            let status = head.get(9..12).and_then(|status| status.parse().ok());
            return status.map(|status| (status, end + 4)).ok_or_else(|| ErrorKind::InvalidData.into());
        }
    }
}
