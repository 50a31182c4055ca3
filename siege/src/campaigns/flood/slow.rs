//! Clients that stop in the middle: of what they send, or of what they are sent.
use super::{Run, from};
use crate::{
    people::Person,
    place::{self, Socket, host, mib},
    report::{ms, quantile},
};
use anyhow::Result;
use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::watch,
    task::{JoinHandle, spawn_blocking},
    time::{sleep, timeout},
};

/// Within which a host ends the connection of whoever stops.
const LIMIT: Duration = Duration::from_secs(12);
/// Within which it ends that of whoever goes on with next to nothing: the time of an answer more.
const LIMIT_OF_CRUMBS: Duration = Duration::from_secs(87);
/// Within which everybody else is answered, but for one in a hundred.
const OTHERS: Duration = Duration::from_millis(500);
/// A client that is not cut off gives up.
const PATIENCE: Duration = Duration::from_mins(2);

/// What a client sends before it stops.
const STALLS: [&str; 4] = [
    "",
    "POST /api/auth/login HTTP/1.1\r\nhost: x\r\ncontent-ty",
    "POST /api/auth/login HTTP/1.1\r\nhost: HOST\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"email\":",
    "POST /api/auth/login HTTP/1.1\r\nhost: HOST\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"ema",
];

/// The longest answer that there is for strangers.
const ASK: &str = "GET /openapi.json HTTP/1.1\r\nhost: HOST\r\n\r\n";
/// How often a client asks at once that reads no answer: once, so that the kernel has all of it, and more than fits.
const ASKS: [usize; 2] = [1, 50];

/// Tells one kind of client from the next, and its address too.
#[derive(Clone, Copy)]
enum Kind {
    Sender(usize),
    /// Reads nothing.
    Reader(usize),
    /// Reads a crumb now and then.
    Nibbler(usize),
}

impl Kind {
    fn limit(self) -> Duration {
        match self {
            Self::Sender(_) | Self::Reader(_) => LIMIT,
            Self::Nibbler(_) => LIMIT_OF_CRUMBS,
        }
    }
}

/// One connection, from when it was made to its end.
struct Stopped {
    lasted: Duration,
    /// Of one that was open for too long: what there is to know.
    late: Option<String>,
}

/// The host's ends of all connections, as its kernel had them a moment ago.
type Ends = watch::Receiver<HashMap<SocketAddr, Socket>>;

/// Connects, sends, stops, and waits to be cut off.
async fn stop(to: SocketAddr, kind: Kind, ends: &mut Ends) -> io::Result<Stopped> {
    let socket = TcpSocket::new_v4()?;
    let (n, bytes) = match kind {
        Kind::Sender(n) => (n, STALLS[n % STALLS.len()].to_owned()),
        Kind::Reader(n) | Kind::Nibbler(n) => {
            socket.set_recv_buffer_size(1 << 10)?;
            (n, ASK.repeat(ASKS[n % ASKS.len()]))
        }
    };
    socket.bind((from(n), 0).into())?;
    let mut stream = socket.connect(to).await?;
    let (begun, own) = (Instant::now(), stream.local_addr()?);
    let bytes = bytes.replace("HOST", &to.to_string());
    stream.write_all(bytes.as_bytes()).await?;
    let (mut sent, mut read, mut late) = (bytes.len(), 0, None);
    let (mut over, mut missing) = (false, None);
    let mut lasted = Duration::ZERO;
    while !over && lasted < PATIENCE {
        over = match kind {
            Kind::Sender(n) => hear(&mut stream, n % 4 == 1 || n % 4 == 2, &mut sent, &mut read).await,
            Kind::Reader(_) | Kind::Nibbler(_) => timeout(CRUMB, gone(ends, own, &mut missing)).await.is_ok(),
        };
        if matches!(kind, Kind::Nibbler(_)) {
            read += stream.try_read(&mut [0; 1 << 10]).unwrap_or(0);
        }
        lasted = missing.unwrap_or_else(Instant::now) - begun;
        if lasted > kind.limit() && late.is_none() {
            let what = match kind {
                Kind::Sender(n) => format!("stall {}", n % STALLS.len()),
                Kind::Reader(n) | Kind::Nibbler(n) => format!("{} answers not read", ASKS[n % ASKS.len()]),
            };
            let end = ends.borrow().get(&own).map_or("none".into(), Socket::to_string);
            late = Some(format!(
                "{what}, {sent} bytes sent, {read} read, cut off {over}, the host's end: {end}"
            ));
        }
    }
    Ok(Stopped { lasted, late })
}

/// Between two bytes of a client that drips, or two crumbs.
const CRUMB: Duration = Duration::from_secs(3);

/// Whether that is the end. Else another byte was sent, if this one drips: what counts is the head or the body as a whole.
async fn hear(stream: &mut TcpStream, drips: bool, sent: &mut usize, read: &mut usize) -> bool {
    let mut bytes = [0; 512];
    match timeout(CRUMB, stream.read(&mut bytes)).await {
        Ok(Ok(0) | Err(_)) => return true,
        Ok(Ok(more)) => *read += more,
        Err(_) if drips => *sent += usize::from(stream.write_all(b"a").await.is_ok()),
        Err(_) => {}
    }
    false
}

/// Waits until the host has no end of it any more, and notes since when: who reads nothing is not told. One table may be older than the
/// connection.
async fn gone(ends: &mut Ends, own: SocketAddr, since: &mut Option<Instant>) {
    while ends.changed().await.is_ok() {
        match (ends.borrow_and_update().contains_key(&own), &since) {
            (true, _) => *since = None,
            (false, None) => *since = Some(Instant::now()),
            (false, Some(_)) => return,
        }
    }
}

type Crowd = JoinHandle<Result<Vec<Stopped>>>;

/// So many clients that connect again whenever they are cut off, until it is `over`.
fn crowd(to: SocketAddr, size: usize, kind: fn(usize) -> Kind, ends: &Ends, over: &Arc<AtomicBool>) -> Crowd {
    let client = |n| {
        let (mut ends, over) = (ends.clone(), over.clone());
        async move {
            let mut all = Vec::new();
            while !over.load(SeqCst) {
                all.push(stop(to, kind(n), &mut ends).await?);
            }
            Ok::<_, io::Error>(all)
        }
    };
    let clients: Vec<_> = (0..size).map(|n| tokio::spawn(client(n))).collect();
    tokio::spawn(async move {
        let mut all = Vec::new();
        for client in clients {
            all.extend(client.await??);
        }
        Ok(all)
    })
}

/// What a host holds for its clients: resident memory, and bytes of answers that its kernel keeps, the most for one.
#[derive(Default)]
struct Held {
    memory: u64,
    unsent: u64,
}

/// Looks at the host's process and at its ends of connections, as long as anybody wants to know.
async fn watch(
    to: SocketAddr,
    process: u32,
    ends: watch::Sender<HashMap<SocketAddr, Socket>>,
) -> Result<Held> {
    let mut held = Held::default();
    loop {
        let sockets = spawn_blocking(move || place::sockets(to)).await??;
        held.memory = held.memory.max(place::resident(process)?);
        held.unsent = sockets.iter().map(|socket| socket.unsent).fold(held.unsent, u64::max);
        if ends.send(sockets.into_iter().map(|socket| (socket.peer, socket)).collect()).is_err() {
            return Ok(held);
        }
        sleep(Duration::from_millis(250)).await;
    }
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let (each, lasts) =
        (run.scale.of(1000, 60), run.scale.time(Duration::from_mins(1), Duration::from_secs(13)));
    let host = host("memory");
    let (to, process) = (host.address(), host.server().id());
    let (times, before, held, stopped) = run.runtime.block_on(async {
        let person = Person::register(to, "slow").await?;
        let (before, over) = (place::resident(process)?, Arc::new(AtomicBool::new(false)));
        let (told, ends) = watch::channel(HashMap::new());
        let watching = tokio::spawn(watch(to, process, told));
        let senders = crowd(to, each, Kind::Sender, &ends, &over);
        let readers = crowd(to, each, Kind::Reader, &ends, &over);
        let nibblers = crowd(to, each / 10, Kind::Nibbler, &ends, &over);
        drop(ends);
        let (begun, mut times) = (Instant::now(), Vec::new());
        let mut client = person.client(to);
        while begun.elapsed() < lasts {
            let reply = client.get("/me").await?;
            anyhow::ensure!(reply.status == 200, "beside slow clients: {}", reply.text());
            times.push(reply.took);
            // A connection of its own, now and then: somebody new must get in as well.
            if times.len() % 10 == 0 {
                client = person.client(to);
            }
            sleep(Duration::from_millis(10)).await;
        }
        over.store(true, SeqCst);
        let stopped = [
            ("stalled connections", LIMIT, senders.await??),
            ("connections that read no answer", LIMIT, readers.await??),
            ("connections that read a KiB every 3 s", LIMIT_OF_CRUMBS, nibblers.await??),
        ];
        Ok::<_, anyhow::Error>((times, before, watching.await??, stopped))
    })?;
    let (p99, at, judged) = (quantile(&times, 0.99), ("flood", "R60"), run.scale.judges_time());
    run.report.timed(
        at,
        judged,
        format!("{each} stalled connections and {each} that read no answer: others in 500 ms (p99)"),
        ms(p99),
        p99 <= OTHERS,
    );
    for (what, limit, all) in stopped {
        let last = all.iter().map(|one| one.lasted).max().unwrap_or_default();
        let late: Vec<_> = all.iter().filter_map(|one| one.late.as_deref()).collect();
        run.report.timed(
            at,
            judged,
            format!("{what}: each is closed within {} s", limit.as_secs()),
            format!("{} of {}, {} late {:?}", ms(last), all.len(), late.len(), &late[..late.len().min(3)]),
            last <= limit,
        );
    }
    let (grown, bound) = (held.memory.saturating_sub(before), (8 << 20) + each as u64 * (64 << 10));
    run.report.check(
        at,
        "resident memory grows by at most 8 MiB and 64 KiB for each client that reads no answer",
        format!("{} of {}", mib(grown), mib(bound)),
        grown <= bound,
    );
    run.report.check(
        at,
        "the kernel keeps at most 128 KiB of answers for a client",
        format!("{} KiB", held.unsent >> 10),
        held.unsent <= 128 << 10,
    );
    host.stop();
    Ok(())
}
