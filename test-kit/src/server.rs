//! The host as a child process: started, waited for, stopped or killed.
use crate::http::Client;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    net::SocketAddr,
    process::{Child, Command, ExitStatus},
    thread::sleep,
    time::{Duration, Instant},
};

/// A start that takes longer has failed.
const TO_START: Duration = Duration::from_mins(2);
/// A stop that takes longer has failed.
const TO_STOP: Duration = Duration::from_secs(30);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// A running host. Dropping it kills it: none outlives what started it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts `command` and waits until it answers on `address` that it is ready.
    pub fn start(command: &mut Command, address: SocketAddr) -> Result<Self> {
        let child = command.spawn().context("cannot start the host")?;
        let mut server = Self { child, address };
        let give_up = Instant::now() + TO_START;
        loop {
            if let Some(status) = server.child.try_wait()? {
                bail!("the host ended while it was starting ({status})");
            }
            if Client::program(address).get("/readyz").is_ok_and(|reply| reply.status == 200) {
                return Ok(server);
            }
            if Instant::now() > give_up {
                bail!("the host was not ready within {} seconds", TO_START.as_secs());
            }
            sleep(BETWEEN_LOOKS);
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
    /// Waits until it ends by itself.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        Ok(self.child.wait()?)
    }
    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }
    /// SIGTERM, and how it ended.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        let give_up = Instant::now() + TO_STOP;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > give_up {
                bail!("the host did not stop within {} seconds", TO_STOP.as_secs());
            }
            sleep(BETWEEN_LOOKS);
        }
    }
    /// `kill -9`.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, and then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
