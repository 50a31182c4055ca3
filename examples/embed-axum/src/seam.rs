//! What the kernel asks of the application: its users as accounts, and its sessions as places for a ticket.
use crate::users::{User, Users};
use axum::{extract::ConnectInfo, http::request::Parts};
use axum_login::AuthSession;
use countersign_host::embed::{Account, Accounts, Authentication, Issued, Sessions, Unavailable};
use countersign_plugin_api::{Latency, Secret, Time};
use std::net::{IpAddr, SocketAddr};

/// Where a session keeps the kernel's ticket.
const TICKET: &str = "countersign";

impl Accounts for Users {
    fn by_id(&self, id: &str) -> Result<Option<Account>, Unavailable> {
        // What is no number is the id of nobody.
        let Ok(id) = id.parse() else { return Ok(None) };
        Ok(Users::by_id(self, id)?.map(account))
    }
    fn by_email(&self, address: &str) -> Result<Option<Account>, Unavailable> {
        Ok(Users::by_email(self, address)?.map(account))
    }
    fn check_password(
        &self,
        account: Option<&Account>,
        password: &Secret<String>,
    ) -> Result<bool, Unavailable> {
        let user = account.map(|account| Users::by_email(self, &account.email)).transpose()?.flatten();
        Ok(Users::password_is_right(user.as_ref(), password)?)
    }
    fn mailbox_proven(&self, id: &str) -> Result<(), Unavailable> {
        Ok(self.verify(id.parse()?)?)
    }
    fn latency(&self) -> Latency {
        Latency::Quick
    }
}

fn account(user: User) -> Account {
    Account {
        id: user.id.to_string(),
        email: user.email,
        email_verified: user.verified,
        role: user.role,
        languages: String::new(),
        created_at: Time::from_secs(user.created_at),
    }
}

/// The sessions of axum-login and tower-sessions, which set the cookie themselves.
pub(crate) struct LoginSessions(pub(crate) Users);

impl LoginSessions {
    fn of(request: &Parts) -> Result<AuthSession<Users>, Unavailable> {
        let session = request.extensions.get::<AuthSession<Users>>().cloned();
        session.ok_or_else(|| Unavailable::new("the session layer does not stand around this route"))
    }
}

impl Sessions for LoginSessions {
    async fn ticket(&self, request: &Parts) -> Result<Option<String>, Unavailable> {
        Ok(Self::of(request)?.session.get(TICKET).await?)
    }
    async fn keep(&self, request: &Parts, authentication: &Authentication) -> Result<Issued, Unavailable> {
        let mut own = Self::of(request)?;
        if authentication.is_pending() {
            // A new token, and nobody is signed in.
            own.session.flush().await?;
        } else {
            let user = Users::by_id(&self.0, authentication.account().id.parse()?)?;
            // Gives a new token to a session that was not signed in.
            own.login(&user.ok_or_else(|| Unavailable::new("the user is gone"))?).await?;
        }
        own.session.insert(TICKET, authentication.ticket().expose()).await?;
        Ok(Issued::default())
    }
    async fn end(&self, request: &Parts) -> Result<Issued, Unavailable> {
        Self::of(request)?.logout().await?;
        Ok(Issued::default())
    }
    async fn end_all(&self, id: &str) -> Result<(), Unavailable> {
        Ok(self.0.end_sessions(id.parse()?)?)
    }
    fn socket(&self, request: &Parts) -> IpAddr {
        let socket = request.extensions.get::<ConnectInfo<SocketAddr>>();
        socket.map_or(IpAddr::from([0, 0, 0, 0]), |ConnectInfo(address)| address.ip())
    }
}
