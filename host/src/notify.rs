//! What a service manager is told, in its own protocol (sd_notify(3)): ready, reloading, stopping, and alive.
use rustix::time::{ClockId, clock_gettime};
use std::{
    convert::Infallible,
    env,
    ffi::OsStr,
    future::pending,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    process,
    time::Duration,
};
use tokio::time::{MissedTickBehavior, interval};

/// The manager that started this process; or none, and nobody is told.
pub(crate) struct Manager {
    socket: Option<UnixDatagram>,
    /// How often it wants to hear, at the least, that the process lives.
    watchdog: Option<Duration>,
}

impl Manager {
    /// The one that `NOTIFY_SOCKET` names, which wants what `WATCHDOG_USEC` and `WATCHDOG_PID` say.
    pub(crate) fn of_environment() -> Self {
        let socket = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()).and_then(|name| {
            let connected = connect(&name);
            if let Err(error) = &connected {
                tracing::warn!(target: "countersign", %error, "the service manager (NOTIFY_SOCKET) cannot be told");
            }
            connected.ok()
        });
        let variable = |name| env::var(name).ok();
        let watchdog = period(variable("WATCHDOG_USEC").as_deref(), variable("WATCHDOG_PID").as_deref());
        Self { socket, watchdog }
    }

    /// Requests are answered: also again, after a reload.
    pub(crate) fn ready(&self) {
        self.tell("READY=1");
    }
    /// Configuration, keys and plugins are read again.
    pub(crate) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.tv_sec * 1_000_000 + now.tv_nsec / 1_000));
    }
    /// No new request is taken.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Says for ever that the process lives, twice as often as is wanted. That the event loop turns is meant: a store
    /// that is away, or a plugin that hangs, is answered for, and no restart would help.
    pub(crate) async fn beat(&self) -> Infallible {
        let Some(watchdog) = self.watchdog.filter(|_| self.socket.is_some()) else {
            return pending().await;
        };
        let mut ticks = interval(watchdog / 2);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.tell("WATCHDOG=1");
        }
    }

    fn tell(&self, what: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(what.as_bytes())
        {
            tracing::warn!(target: "countersign", %error, "the service manager (NOTIFY_SOCKET) could not be told");
        }
    }
}

/// A path, or a name without a file where it begins with `@`.
fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read must not hold up the event loop.
    socket.set_nonblocking(true)?;
    match name.as_bytes() {
        [b'@', rest @ ..] => socket.connect_addr(&SocketAddr::from_abstract_name(rest)?)?,
        _ => socket.connect(name)?,
    }
    Ok(socket)
}

/// How often, if it is this process that is meant.
fn period(usec: Option<&str>, pid: Option<&str>) -> Option<Duration> {
    let meant = pid.is_none_or(|pid| pid.parse() == Ok(process::id()));
    let usec = usec?.parse().ok().filter(|usec| *usec >= 2)?;
    meant.then(|| Duration::from_micros(usec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_is_ours_or_somebody_elses() {
        let own = process::id().to_string();
        for (usec, pid, expected) in [
            (None, None, None),
            (Some("30000000"), None, Some(30)),
            (Some("30000000"), Some(own.as_str()), Some(30)),
            (Some("30000000"), Some("1"), None),
            (Some("30000000"), Some("x"), None),
            (Some("0"), None, None),
            (Some("soon"), None, None),
        ] {
            assert_eq!(period(usec, pid), expected.map(Duration::from_secs), "{usec:?} {pid:?}");
        }
    }

    #[test]
    fn a_manager_may_listen_under_a_name_without_a_file() {
        let name = format!("countersign-test-{}", process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let manager = UnixDatagram::bind_addr(&address).expect("a socket");
        let socket = connect(format!("@{name}").as_ref()).expect("a connection");
        Manager { socket: Some(socket), watchdog: None }.ready();
        let mut heard = [0; 64];
        let length = manager.recv(&mut heard).expect("a datagram");
        assert_eq!(&heard[..length], b"READY=1");
    }
}
