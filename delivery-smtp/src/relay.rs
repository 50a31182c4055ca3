//! One relay: its connections, and what one try does with them.
use crate::{
    Config,
    conversation::{self, Account, Failure},
    mail::{self, Mail, Sender},
    server::{Security, Server},
    tls, wire,
};
use countersign_plugin_api::{Delivery, Error, Message, Result, Undelivered};
use lettre::transport::smtp::client::AsyncSmtpConnection;
use std::{
    cell::Cell,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    runtime::{Builder, Runtime},
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// How many connections are kept for the next message.
const MOST_PARKED: usize = 4;
/// How long: well below the five minutes that a server waits for a command (RFC 5321, section 4.5.3.2.7).
const PARKED_FOR: Duration = Duration::from_mins(1);
/// How many messages go over one connection.
const MOST_MESSAGES: usize = 100;
/// How long a probe may take.
const PROBE: Duration = Duration::from_secs(15);
/// How long a connection that was kept may take to show that it is alive, and one that is given up to say goodbye.
const COURTESY: Duration = Duration::from_secs(2);

pub(crate) struct Relay {
    server: Server,
    sender: Sender,
    account: Option<Account>,
    tls: Option<TlsConnector>,
    hello: Option<String>,
    connect_timeout: Duration,
    timeout: Duration,
    parked: Mutex<Vec<Parked>>,
    /// Runs on whatever thread sends; it has none of its own but for resolving names. Taken when dropped.
    runtime: Option<Runtime>,
}

/// A connection on which all went well so far.
struct Parked {
    connection: AsyncSmtpConnection,
    since: Instant,
    messages: usize,
}

impl Relay {
    pub(crate) fn new(config: Config) -> Result<Self> {
        let tls = match config.url.security {
            Security::None => None,
            Security::StartTls | Security::Tls => Some(tls::connector(config.ca.as_deref())?),
        };
        let account = config.username.zip(config.password);
        // A resolver that hangs keeps a thread: so many of them, and no more.
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(4).build();
        Ok(Self {
            server: config.url,
            sender: config.from,
            account: account.map(|(username, password)| Account { username, password }),
            tls,
            hello: config.hello,
            connect_timeout: config.connect_timeout,
            timeout: config.timeout,
            parked: Mutex::default(),
            runtime: Some(runtime.map_err(|error| Error::new(format_args!("no event loop: {error}")))?),
        })
    }

    async fn deliver(&self, mail: &Mail, handed_over: &Cell<bool>) -> Result<(), Undelivered> {
        let mut line = match self.unpark().await {
            Some(line) => line,
            None => self.connect().await?,
        };
        match conversation::send(&mut line.connection, mail, handed_over).await {
            Ok(()) => {
                self.park(line);
                Ok(())
            }
            Err(Failure::Refused(why)) => {
                let _ = timeout(COURTESY, line.connection.quit()).await;
                Err(why)
            }
            Err(Failure::Broken(why)) => Err(why),
        }
    }

    async fn connect(&self) -> Result<Parked, Undelivered> {
        let (tls, hello) = (self.tls.as_ref(), self.hello.as_deref());
        let (stream, hello) = wire::open(&self.server, tls, hello, self.connect_timeout).await?;
        let connection = conversation::begin(stream, &hello, self.account.as_ref()).await?;
        Ok(Parked { connection, since: Instant::now(), messages: 0 })
    }

    /// A connection that was kept and is still alive.
    async fn unpark(&self) -> Option<Parked> {
        loop {
            let mut line = self.lock().pop()?;
            let is_fresh = line.since.elapsed() < PARKED_FOR;
            if is_fresh && timeout(COURTESY, line.connection.test_connected()).await == Ok(true) {
                return Some(line);
            }
        }
    }

    /// Only what ended well is kept: on a connection that was left in the middle, a late reply would be taken for the
    /// answer to the next message.
    fn park(&self, mut line: Parked) {
        line.messages += 1;
        line.since = Instant::now();
        let mut parked = self.lock();
        parked.retain(|line| line.since.elapsed() < PARKED_FOR);
        if line.messages < MOST_MESSAGES && parked.len() < MOST_PARKED {
            parked.push(line);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Parked>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Delivery for Relay {
    fn send(&self, message: &Message<'_>) -> Result<(), Undelivered> {
        let mail = mail::compose(&self.sender, message)?;
        let Some(runtime) = &self.runtime else {
            return Err(Undelivered::Later("the delivery is being dropped".into()));
        };
        // Dropping the future closes its connection, wherever the conversation was: a relay that sends a byte a second
        // cannot make it longer.
        let handed_over = Cell::new(false);
        runtime.block_on(async {
            timeout(self.timeout, self.deliver(&mail, &handed_over)).await.unwrap_or_else(|_| {
                let why = format!("{}: no end within {:?}", self.server, self.timeout);
                Err(if handed_over.get() { Undelivered::Unknown(why) } else { Undelivered::Later(why) })
            })
        })
    }

    /// All of a conversation but the message: TCP, TLS, EHLO, who we are, and goodbye.
    fn probe(&self) -> Result<(), Undelivered> {
        let Some(runtime) = &self.runtime else {
            return Err(Undelivered::Later("the delivery is being dropped".into()));
        };
        let limit = self.timeout.min(PROBE);
        let greet = async {
            let mut line = self.connect().await?;
            let _ = timeout(COURTESY, line.connection.quit()).await;
            Ok(())
        };
        runtime.block_on(async {
            let late = || Undelivered::Later(format!("{}: no end within {limit:?}", self.server));
            timeout(limit, greet).await.unwrap_or_else(|_| Err(late()))
        })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.lock().clear();
        if let Some(runtime) = self.runtime.take() {
            // Not waiting for a resolver that hangs.
            runtime.shutdown_background();
        }
    }
}
