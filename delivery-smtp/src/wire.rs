//! The way to the relay: TCP, and TLS on it from the first byte or after STARTTLS.
use crate::{
    server::{Security, Server},
    tls::distrust,
};
use countersign_plugin_api::Undelivered;
use lettre::transport::smtp::{client::AsyncTokioStream, extension::ClientId};
use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpStream, lookup_host},
    time::{Instant, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream, rustls::pki_types::ServerName};

/// As much as a relay may say on one connection: some hundred messages' worth, and no more memory than that.
const MOST_HEARD: usize = 256 << 10;

/// Opens a connection, ready for a greeting to be read and EHLO to be said. Answers how to call ourselves, too.
pub(crate) async fn open(
    server: &Server,
    tls: Option<&TlsConnector>,
    hello: Option<&str>,
    connect_timeout: Duration,
) -> Result<(Box<dyn AsyncTokioStream>, ClientId), Undelivered> {
    let connected = timeout(connect_timeout, dial(server, connect_timeout)).await;
    let mut tcp = connected.unwrap_or_else(|_| Err(later(server, "no connection in time")))?;
    let ends = tcp.local_addr().and_then(|own| Ok((own.ip(), tcp.peer_addr()?)));
    let (own, peer) = ends.map_err(|error| later(server, error.kind()))?;
    let hello = match (hello, own) {
        (Some(name), _) => ClientId::Domain(name.into()),
        // RFC 5321, section 4.1.4: without a name, the address.
        (None, IpAddr::V4(ip)) => ClientId::Ipv4(ip),
        (None, IpAddr::V6(ip)) => ClientId::Ipv6(ip),
    };
    let stream: Box<dyn AsyncTokioStream> = match (server.security, tls) {
        (Security::None, _) => Wire::boxed(tcp, peer, b""),
        (Security::StartTls, Some(tls)) => {
            starttls(&mut tcp, &hello).await.map_err(|why| later(server, why))?;
            // After the handshake the server waits for EHLO (RFC 3207, section 4.2), and lettre for a greeting.
            Wire::boxed(secured(server, tls, tcp).await?, peer, b"220 \r\n")
        }
        (Security::Tls, Some(tls)) => Wire::boxed(secured(server, tls, tcp).await?, peer, b""),
        (_, None) => return Err(later(server, "TLS is not set up")),
    };
    Ok((stream, hello))
}

fn later(server: &Server, why: impl fmt::Display) -> Undelivered {
    Undelivered::Later(format!("{server}: {why}"))
}

/// Tries each address of the name, and gives each an equal share of the time that is left.
async fn dial(server: &Server, connect_timeout: Duration) -> Result<TcpStream, Undelivered> {
    let give_up = Instant::now() + connect_timeout;
    let found = lookup_host((server.host.as_str(), server.port)).await;
    let found = found.map_err(|_| later(server, "its name cannot be resolved"))?;
    let addresses: Vec<SocketAddr> = found.filter(|address| server.allows(address)).collect();
    let mut why = "it has no address that may be spoken to".to_owned();
    let mut others = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    for address in addresses {
        let share = (give_up - Instant::now()) / others.max(1);
        others = others.saturating_sub(1);
        match timeout(share, TcpStream::connect(address)).await {
            // Commands are short, and each waits for its reply.
            Ok(Ok(tcp)) => match tcp.set_nodelay(true) {
                Ok(()) => return Ok(tcp),
                Err(error) => why = error.kind().to_string(),
            },
            Ok(Err(error)) => why = error.kind().to_string(),
            Err(_) => "no connection in time".clone_into(&mut why),
        }
    }
    Err(later(server, why))
}

async fn secured(
    server: &Server,
    tls: &TlsConnector,
    tcp: TcpStream,
) -> Result<TlsStream<TcpStream>, Undelivered> {
    let name = ServerName::try_from(server.host.clone());
    let name = name.map_err(|_| later(server, "no certificate can be for such a name"))?;
    tls.connect(name, tcp).await.map_err(|error| later(server, distrust(&error)))
}

/// Says STARTTLS, and hears nothing beyond the reply: what somebody on the way put behind it in the clear is read as
/// TLS, which it is not, and never as a reply under TLS.
async fn starttls(tcp: &mut TcpStream, hello: &ClientId) -> Result<(), String> {
    let told = |error: io::Error| format!("STARTTLS: {}", error.kind());
    reply(tcp, "220").await?;
    tcp.write_all(format!("EHLO {hello}\r\n").as_bytes()).await.map_err(told)?;
    let offers = reply(tcp, "250").await?;
    if !offers.iter().any(|offer| offer.eq_ignore_ascii_case("STARTTLS")) {
        return Err("it offers no STARTTLS, and nothing is sent in the clear".into());
    }
    tcp.write_all(b"STARTTLS\r\n").await.map_err(told)?;
    reply(tcp, "220").await.map(drop)
}

/// The lines of one reply, which must have that code (RFC 5321, section 4.2).
async fn reply(tcp: &mut TcpStream, code: &str) -> Result<Vec<String>, String> {
    let mut lines = Vec::new();
    while lines.len() < 100 {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') && line.len() < 1000 {
            line.push(tcp.read_u8().await.map_err(|error| format!("STARTTLS: {}", error.kind()))?);
        }
        let line = String::from_utf8_lossy(&line);
        let Some((said, rest)) = line.trim_end().split_at_checked(3) else { break };
        if said != code {
            let is_code = said.bytes().all(|byte| byte.is_ascii_digit());
            return Err(format!("STARTTLS: it answers {}", if is_code { said } else { "nonsense" }));
        }
        lines.push(rest.get(1..).unwrap_or_default().trim().to_owned());
        if !rest.starts_with('-') {
            return Ok(lines);
        }
    }
    Err("STARTTLS: it answers nonsense".into())
}

/// A connection as lettre takes it, on which no more than [`MOST_HEARD`] is heard.
#[derive(Debug)]
struct Wire<S> {
    /// What lettre hears before the server's first word.
    before: &'static [u8],
    left: usize,
    peer: SocketAddr,
    stream: S,
}

impl<S> Wire<S> {
    fn boxed(stream: S, peer: SocketAddr, before: &'static [u8]) -> Box<Self> {
        Box::new(Self { before, left: MOST_HEARD, peer, stream })
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin + fmt::Debug> AsyncTokioStream for Wire<S> {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.before.is_empty() {
            let (now, rest) = self.before.split_at(self.before.len().min(buffer.remaining()));
            buffer.put_slice(now);
            self.before = rest;
            return Poll::Ready(Ok(()));
        }
        if self.left == 0 {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        let had = buffer.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.left = self.left.saturating_sub(buffer.filled().len() - had);
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
