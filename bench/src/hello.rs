//! The server that everything is compared with: axum, one route, a small JSON body, and nothing else.
use anyhow::{Context, Result, bail};
use axum::{Json, Router, routing::get};
use countersign_test_kit::project;
use serde_json::json;
use std::{
    env,
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Stdio},
    thread::sleep,
    time::Duration,
};

/// Serves until it is killed.
pub(crate) fn serve(address: SocketAddr) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let app = Router::new().route("/hello", get(async || Json(json!({ "message": "Hello, World!" }))));
        let listener = tokio::net::TcpListener::bind(address).await?;
        Ok(axum::serve(listener, app).await?)
    })
}

/// A server of ours as a process of its own, so that its CPU is counted apart. Dropping it kills it.
pub(crate) struct Served {
    child: Child,
    address: SocketAddr,
}

impl Served {
    /// Starts this program in that role, with an address and further words.
    pub(crate) fn start(role: &str, words: &[&str]) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = project::command(env::current_exe()?);
        command.args([role, &address.to_string()]).args(words);
        let child = command.stdin(Stdio::null()).spawn()?;
        let hello = Self { child, address };
        for _ in 0..500 {
            if TcpStream::connect(address).is_ok() {
                return Ok(hello);
            }
            sleep(Duration::from_millis(10));
        }
        bail!("the server `{role}` does not start on {address}")
    }
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
    /// What the bare server is asked.
    pub(crate) fn request(&self) -> Vec<u8> {
        format!("GET /hello HTTP/1.1\r\nhost: {}\r\n\r\n", self.address).into_bytes()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let ended = self.child.kill().and_then(|()| self.child.wait()).context("the bare server");
        if let Err(error) = ended {
            eprintln!("bench: {error:#}");
        }
    }
}
