//! The application's sessions, as the kernel uses them.
use super::{Authentication, Unavailable};
use axum::http::{HeaderValue, request::Parts};
use countersign_plugin_api::Secret;
use std::{future::Future, net::IpAddr, pin::Pin};

/// The application's sessions: each keeps one text for the kernel, its *ticket*.
///
/// A ticket says who has come how far: that a password was right and a second factor is waited for, or that
/// somebody is signed in, since when and by what. It is signed, so nobody can make one up, and it never leaves for the client.
///
/// *Atomicity*: the kernel's own write is durable before anything is asked of a session. A crash in between
/// costs the user another try, and never grants anything. *Errors*: the answer is 503; what was spent stays spent.
///
/// *What an implementation must see to*: a session lies on the server; its token is a secret of at least 128
/// random bits; and [`keep`](Sessions::keep) with a new login gives it a new token (see there).
pub trait Sessions: Send + Sync + 'static {
    /// The ticket in the session that came with this request; `None` when there is no session, or none in it.
    fn ticket(&self, request: &Parts) -> impl Future<Output = Result<Option<String>, Unavailable>> + Send;

    /// Keeps the ticket of `authentication` in the session of this request, in the place of the one before.
    ///
    /// When it [is pending](Authentication::is_pending), the session may do nothing but prove the second factor: the
    /// application treats it as signed out. When it is not, the session is signed in as its account. In both cases
    /// the session must get a **new token** unless it was signed in as this account before: whoever knows the old one
    /// (it was planted, or seen before the second factor was proven) must have nothing.
    fn keep(
        &self,
        request: &Parts,
        authentication: &Authentication,
    ) -> impl Future<Output = Result<Issued, Unavailable>> + Send;

    /// Ends the session of this request; that there is none is as good.
    fn end(&self, request: &Parts) -> impl Future<Output = Result<Issued, Unavailable>> + Send;

    /// A credential event of the account `id`: all its sessions end. The one that caused it is kept right
    /// afterwards, by [`keep`](Sessions::keep). Tickets from before are refused by the kernel in any case, so an
    /// application that asks [`Embedded::authenticated`](super::Embedded::authenticated) on each request need do
    /// nothing here.
    fn end_all(&self, id: &str) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// The address at the other end of the socket. What `X-Forwarded-For` says is the kernel's to judge, by
    /// `trusted_proxies`.
    fn socket(&self, request: &Parts) -> IpAddr;
}

/// What the answer must carry for the client to have the session.
#[derive(Default, Clone)]
pub struct Issued {
    /// A token for a program, which the answer's body carries as `token`.
    pub token: Option<Secret<String>>,
    /// Values of `Set-Cookie`. None, where a layer around the routes sets the session's cookie.
    pub cookies: Vec<HeaderValue>,
}

type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, Unavailable>> + Send + 'a>>;

/// The same, as an object.
pub(super) trait AnySessions: Send + Sync {
    fn ticket<'a>(&'a self, request: &'a Parts) -> Later<'a, Option<String>>;
    fn keep<'a>(&'a self, request: &'a Parts, authentication: &'a Authentication) -> Later<'a, Issued>;
    fn end<'a>(&'a self, request: &'a Parts) -> Later<'a, Issued>;
    fn end_all<'a>(&'a self, id: &'a str) -> Later<'a, ()>;
    fn socket(&self, request: &Parts) -> IpAddr;
}

impl<S: Sessions> AnySessions for S {
    fn ticket<'a>(&'a self, request: &'a Parts) -> Later<'a, Option<String>> {
        Box::pin(Sessions::ticket(self, request))
    }
    fn keep<'a>(&'a self, request: &'a Parts, authentication: &'a Authentication) -> Later<'a, Issued> {
        Box::pin(Sessions::keep(self, request, authentication))
    }
    fn end<'a>(&'a self, request: &'a Parts) -> Later<'a, Issued> {
        Box::pin(Sessions::end(self, request))
    }
    fn end_all<'a>(&'a self, id: &'a str) -> Later<'a, ()> {
        Box::pin(Sessions::end_all(self, id))
    }
    fn socket(&self, request: &Parts) -> IpAddr {
        Sessions::socket(self, request)
    }
}
