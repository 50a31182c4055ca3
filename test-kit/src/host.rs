//! A running host.
use crate::{Client, Site, server::Server};
use std::net::SocketAddr;

/// A host that answers. Dropping it kills it.
#[derive(Debug)]
pub struct Host {
    // Declared before the site: the process goes first, its directory after it.
    server: Server,
    site: Site,
}

impl Host {
    /// A host of its own for a test: on a free address, open to sign-ups, with its records in memory, its mail
    /// captured, and a clock that can be moved.
    pub fn start() -> Self {
        Site::with_store("memory").with_clock().with_mail().start()
    }

    pub(crate) fn new(server: Server, site: Site) -> Self {
        Self { server, site }
    }

    /// A browser that has just been opened.
    pub fn browser(&self) -> Client {
        Client::browser(self.address())
    }
    /// A program that carries its token itself.
    pub fn program(&self) -> Client {
        Client::program(self.address())
    }
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }
    /// Its directory.
    pub fn site(&self) -> &Site {
        &self.site
    }
    /// The process, for signals.
    pub fn server(&self) -> &Server {
        &self.server
    }
    /// Everything that it and its predecessors in this directory wrote.
    pub fn log(&self) -> String {
        self.site.log()
    }

    /// `kill -9`, and what is left.
    pub fn kill(self) -> Site {
        let Self { server, site } = self;
        server.kill().expect("the host can be killed");
        site
    }
    /// SIGTERM; it must end in peace.
    pub fn stop(self) -> Site {
        let Self { server, site } = self;
        let status = server.stop().expect("the host stops");
        assert!(status.success(), "stopped with {status}\n{}", site.log());
        site
    }
}
