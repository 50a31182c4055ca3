//! What an application holds: the kernel over its accounts and sessions.
use super::{
    Accounts, Authentication, Entry, FirstFactor, Issued, Routes, authentication,
    authentication::{issue, resolve, resolve_caller},
    entry::{self, Entered, enter},
    passwords::Checks,
    people::{standard, unavailable},
    sessions::AnySessions,
};
use crate::{
    auth::{Need, require},
    control::DataDir,
    http::{Cookie, RequestId, Site},
    kernel::{Call, HOST, Kernel, Origin, answered},
    language::preferences,
    pages::Pages,
};
use axum::http::{HeaderValue, header, request::Parts};
use countersign_plugin_api::{Draft, Event, Problem, Refusal, Secret, Standing};
use serde_json::json;
use std::{net::IpAddr, sync::Arc, time::Duration};
use tokio::{runtime::Handle, task::spawn_blocking};

/// A kernel in an application: its plugins are linked, and the store answers. Cloning it is cheap.
///
/// # What an application must do
///
/// - Let **every** way to a session pass [`login`](Self::login) or [`after_primary`](Self::after_primary). A way that
///   does not is a way around the second factor: single sign-on, "remember me", an API's password grant, impersonation.
/// - Answer a login with its [`Entry`], or set the cookies of [`Entry::issued`]: among them is the one by which the
///   account knows the browser again ([`device_cookie`](Self::device_cookie)).
/// - Treat a session whose ticket [is pending](Authentication::is_pending) as signed out.
/// - Mount [`routes`](Self::routes) at `/api/auth` of `public_url`, inside the layer that makes its sessions.
/// - Ask [`authenticated`](Self::authenticated) on each request where a policy requires a second factor, or where
///   sessions cannot be ended by account: it refuses what a credential event has ended.
/// - Ask [`stepped_up`](Self::stepped_up) before it changes a password, an address or a role.
/// - Say [`password_changed`](Self::password_changed), [`password_reset`](Self::password_reset) and
///   [`account_deleted`](Self::account_deleted) right after these; `password_changed` also after an address was changed, so that
///   what was mailed to the old one opens nothing.
/// - Give its own forms a defence against other sites; the mounted routes have theirs. Serve `public_url` over TLS.
/// - Keep `keys.toml` and the store: without them every second factor is lost.
///
/// # What it must not do
///
/// - Keep tickets anywhere but in a session on the server, or log them, or let one outlive its session.
/// - Make a [`FirstFactor`] of anything but a check that it has made itself.
/// - Use an account's id for another account later: what belonged to the first would be the second's.
/// - Check a password past [`login`](Self::login) without counting: `kernel.mfa()?.is_locked(address)`, `record_failure`.
///
/// # What is atomic
///
/// Whatever the kernel keeps is one write: code spent, login complete, audit row, mail. The application's session
/// comes after it. If that fails, the answer is 503 and the user tries again; nobody is ever signed in by half a write.
#[derive(Clone)]
pub struct Embedded(Arc<Inner>);

struct Inner {
    kernel: Arc<Kernel>,
    accounts: Arc<dyn Accounts>,
    sessions: Arc<dyn AnySessions>,
    site: Arc<Site>,
    pages: Pages,
    cookie: Cookie,
    checks: Checks,
    runtime: Handle,
    _data_dir: DataDir,
}

impl Embedded {
    #[expect(clippy::too_many_arguments, reason = "the parts of one whole, each made elsewhere")]
    pub(super) fn new(
        kernel: Arc<Kernel>,
        accounts: Arc<dyn Accounts>,
        sessions: Arc<dyn AnySessions>,
        site: Site,
        pages: Pages,
        cookie: Cookie,
        hashes: usize,
        data_dir: DataDir,
    ) -> Self {
        kernel.deliver();
        tokio::spawn(Kernel::keep_record(Arc::downgrade(&kernel)));
        Self(Arc::new(Inner {
            kernel,
            accounts,
            sessions,
            site: Arc::new(site),
            pages,
            cookie,
            checks: Checks::new(hashes),
            runtime: Handle::current(),
            _data_dir: data_dir,
        }))
    }

    /// What answers below `/api/auth`: the routes of every plugin, such as `/api/auth/mfa/totp/verify`.
    pub fn routes(&self) -> Routes {
        Routes::new(self)
    }

    /// Signs in with a password: asks [`Accounts::check_password`], within a budget of five wrong ones for each
    /// address in 15 minutes, and goes on as [`after_primary`](Self::after_primary).
    ///
    /// A try is counted before it is made, so guesses that come at once are counted too, and a right password gives back what
    /// it has used. An address that nobody has is answered like any other, with 401 `invalid-credentials`.
    pub async fn login(
        &self,
        request: &Parts,
        address: &str,
        password: &Secret<String>,
    ) -> Result<Entry, Refusal> {
        let (address, password) = (address.to_owned(), password.clone());
        let work = async move |this: Self, request| this.sign_in(&request, &address, &password).await;
        self.watched(request, work).await
    }

    /// After a first factor that the application has checked itself: asks the gate, and keeps in the session of the
    /// request what it says. Every way to a session passes here.
    pub async fn after_primary(&self, request: &Parts, first: &FirstFactor) -> Result<Entry, Refusal> {
        let first = first.clone();
        let work = async move |this: Self, request| {
            this.enter(&request, &this.origin(&request), &first, |_| Ok(())).await
        };
        self.watched(request, work).await
    }

    pub(super) async fn enter(
        &self,
        request: &Parts,
        origin: &Origin,
        first: &FirstFactor,
        before: impl Fn(&Call<'_>) -> Result<(), Refusal>,
    ) -> Result<Entry, Refusal> {
        let ticket = self.ticket(request).await?;
        let entered = self
            .act(origin, |call| {
                if let Some(ticket) = &ticket {
                    resolve_caller(call, ticket)?;
                }
                before(call)?;
                enter(call, first)
            })
            .await?;
        let Entered { mut entry, cookies, proven } = entered;
        if proven {
            self.tell_proven(&first.account).await?;
        }
        let mut issued = match entry.to_keep() {
            Some(own) => self.keep(request, own).await?,
            None => Issued::default(),
        };
        issued.cookies.extend(entry::lines(self.cookie(), cookies).map_err(|failure| failure.0)?);
        entry.carry(issued);
        Ok(entry)
    }

    /// Who has signed in, as far as the session of the request says: also one whose second factor is waited for,
    /// and one that must set one up first. `None` for nobody, and for what a credential event has ended.
    pub async fn authentication(&self, request: &Parts) -> Result<Option<Authentication>, Refusal> {
        let work = async move |this: Self, request| {
            let Some(ticket) = this.ticket(&request).await? else { return Ok(None) };
            this.act(&this.origin(&request), |call| resolve(call, &ticket)).await
        };
        self.watched(request, work).await
    }

    /// Who is signed in, with a second factor where one is set up, and with one set up where policy wants that.
    /// Otherwise 401 `session-required`, 403 `mfa-required` or 403 `enrollment-required`.
    pub async fn authenticated(&self, request: &Parts) -> Result<Authentication, Refusal> {
        let content = async move |this: Self, request| {
            this.signed_in(&request, |call| require(call, Need::Content)).await
        };
        self.watched(request, content).await
    }

    /// The same, and proven within `step_up_window`: by the second factor where one is set up, else by the password.
    /// Otherwise 403 `step-up-required`.
    pub async fn stepped_up(&self, request: &Parts) -> Result<Authentication, Refusal> {
        let fresh = async move |this: Self, request| this.signed_in(&request, is_fresh).await;
        self.watched(request, fresh).await
    }

    pub(super) async fn signed_in(
        &self,
        request: &Parts,
        check: impl Fn(&Call<'_>) -> Result<(), Refusal>,
    ) -> Result<Authentication, Refusal> {
        let ticket = self.ticket(request).await?.ok_or(Problem::SessionRequired)?;
        self.act(&self.origin(request), |call| {
            let own = resolve(call, &ticket)?.ok_or(Problem::SessionRequired)?;
            call.set_caller(own.caller().clone());
            check(call)?;
            Ok(own)
        })
        .await
    }

    /// The first-factor half of a step-up: the password once more, on the same budget as at a login.
    pub async fn reauthenticate(
        &self,
        request: &Parts,
        password: &Secret<String>,
    ) -> Result<Authentication, Refusal> {
        let password = password.clone();
        let work = async move |this: Self, request| this.prove_again(&request, &password).await;
        self.watched(request, work).await
    }

    /// The caller has a new password. Its other sessions, its open challenges, mailed links and trusted browsers
    /// end, and it is told by mail.
    pub async fn password_changed(&self, request: &Parts) -> Result<Authentication, Refusal> {
        let work =
            async move |this: Self, request| this.renew(&request, &this.origin(&request), replaced).await;
        self.watched(request, work).await
    }

    /// Somebody with access to the mailbox has set a new password. All that the account has open ends, and until another
    /// factor was proven no code is sent to that mailbox: it must not be both factors.
    pub async fn password_reset(&self, account: &str) -> Result<(), Refusal> {
        self.told(account, |call, account| {
            authentication::bump(call, account)?;
            call.kernel.tell_gate(call, "password.reset-by-mail", &json!({ "subject": account }))?;
            changed(call, "password.reset", account)
        })
        .await
    }

    /// An account is gone, and what is kept of its second factor with it.
    pub async fn account_deleted(&self, account: &str) -> Result<(), Refusal> {
        self.told(account, |call, account| {
            authentication::bump(call, account)?;
            call.kernel.tell_gate(call, "forget", &json!({ "subject": account }))?;
            call.audit(HOST, &Event::success("account.deleted", account));
            Ok(())
        })
        .await
    }

    /// The line of `Set-Cookie` by which the account will know the browser again, where this answer is to set one: a
    /// login is complete, or a credential event has ended the one that it had. An [`Entry`] has it among its cookies, and
    /// the [`routes`](Self::routes) set it; after [`password_changed`](Self::password_changed), and what
    /// [`mfa`](Self::mfa) did on behalf of a request, the application adds it to its answer.
    ///
    /// The browser brings it along, and nothing more is to be done. It opens nothing: it gives a browser wrong passwords
    /// and mailed links of its own, so that whoever uses up what strangers have does not keep the owner out.
    pub fn device_cookie(&self, own: &Authentication) -> Option<HeaderValue> {
        let cookie = own.device().cloned()?;
        entry::lines(self.cookie(), vec![cookie]).ok()?.pop()
    }

    /// The typed client of plugin-mfa, in process. The error says that no plugin gates logins.
    pub fn mfa(&self) -> Result<super::mfa::Mfa, Refusal> {
        super::mfa::Mfa::new(self)
    }

    /// Whether it can serve: the store answers, and no plugin hangs. Waits for nothing.
    pub fn readiness(&self) -> Result<(), Refusal> {
        self.0.kernel.readiness()
    }
}

/// Whoever calls has proven who it is within `step_up_window`.
fn is_fresh(call: &Call<'_>) -> Result<(), Refusal> {
    require(call, Need::Content)?;
    let standing = call.kernel.standing(call)?;
    let fresh = standing.is_some_and(|Standing { stepped_up, .. }| stepped_up);
    if fresh { Ok(()) } else { Err(Problem::StepUpRequired.into()) }
}

/// The caller has a new password, and nothing of before but this session.
fn replaced(call: &Call<'_>) -> Result<Authentication, Refusal> {
    let caller = standard(call)?.clone();
    authentication::bump(call, &caller.subject.id)?;
    changed(call, "password.changed", &caller.subject.id)?;
    issue(call, caller)
}

/// What follows a credential event that is the application's.
fn changed(call: &Call<'_>, event: &str, account: &str) -> Result<(), Refusal> {
    call.audit(HOST, &Event::success(event, account));
    let until = call.now() + Duration::from_hours(24);
    call.message(&Draft::notice("password-changed", account, until))
}

/// The languages that whoever asks reads.
fn languages(request: &Parts) -> String {
    let header = request.headers.get(header::ACCEPT_LANGUAGE).and_then(|header| header.to_str().ok());
    header.map(preferences).unwrap_or_default()
}

/// How the parts of this module act.
impl Embedded {
    pub(super) fn inner(&self) -> &Arc<Kernel> {
        &self.0.kernel
    }
    pub(super) fn runtime(&self) -> &Handle {
        &self.0.runtime
    }
    pub(super) fn accounts(&self) -> Arc<dyn Accounts> {
        self.0.accounts.clone()
    }
    pub(super) fn checks(&self) -> &Checks {
        &self.0.checks
    }
    pub(super) fn sessions(&self) -> &dyn AnySessions {
        &*self.0.sessions
    }
    pub(super) fn cookie(&self) -> &Cookie {
        &self.0.cookie
    }
    pub(super) fn site(&self) -> Arc<Site> {
        self.0.site.clone()
    }
    pub(super) fn pages(&self) -> &Pages {
        &self.0.pages
    }
    pub(super) fn socket(&self, request: &Parts) -> IpAddr {
        self.0.sessions.socket(request)
    }

    /// A plugin or a store that hangs is answered for, as at a request over HTTP.
    async fn watched<T: Send + 'static, F>(
        &self,
        request: &Parts,
        work: impl FnOnce(Self, Parts) -> F,
    ) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, Refusal>> + Send + 'static,
    {
        answered(work(self.clone(), request.clone())).await?
    }

    /// The same of what the application tells of an account.
    async fn told(
        &self,
        account: &str,
        decide: impl Fn(&Call<'_>, &str) -> Result<(), Refusal> + Send + Sync + 'static,
    ) -> Result<(), Refusal> {
        let (this, account) = (self.clone(), account.to_owned());
        answered(async move { this.act(&Self::own_origin(), |call| decide(call, &account)).await }).await?
    }

    /// Runs a decision and, once it is durable, ends the sessions that it has ended.
    pub(super) async fn act<T>(
        &self,
        origin: &Origin,
        decide: impl Fn(&Call<'_>) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let decided = self.0.kernel.run(origin, |call| Ok((decide(call)?, call.ended()))).await;
        let (value, ended) = decided.inspect_err(|refusal| {
            // The application answers, and need not know what only the log is told.
            if !refusal.log().is_empty() {
                let (slug, because) = (refusal.problem().slug(), refusal.log());
                tracing::warn!(target: "countersign::embed", request = origin.request, slug, because, "refused");
            }
        })?;
        for account in ended {
            self.0.sessions.end_all(&account).await.map_err(unavailable)?;
        }
        Ok(value)
    }

    /// The same for the session of a request, which then keeps who it is of from now on.
    pub(super) async fn renew(
        &self,
        request: &Parts,
        origin: &Origin,
        decide: impl Fn(&Call<'_>) -> Result<Authentication, Refusal>,
    ) -> Result<Authentication, Refusal> {
        let ticket = self.ticket(request).await?.ok_or(Problem::SessionRequired)?;
        let own = self
            .act(origin, |call| {
                resolve_caller(call, &ticket)?;
                decide(call)
            })
            .await?;
        self.keep(request, &own).await?;
        Ok(own)
    }

    pub(super) async fn ticket(&self, request: &Parts) -> Result<Option<String>, Refusal> {
        self.0.sessions.ticket(request).await.map_err(unavailable)
    }
    pub(super) async fn keep(&self, request: &Parts, own: &Authentication) -> Result<Issued, Refusal> {
        let mut issued = self.0.sessions.keep(request, own).await.map_err(unavailable)?;
        issued.cookies.extend(self.device_cookie(own));
        Ok(issued)
    }
    /// The application learns that a mailbox was proven, before anybody is signed in by that.
    pub(super) async fn tell_proven(&self, id: &str) -> Result<(), Refusal> {
        let (accounts, id) = (self.0.accounts.clone(), id.to_owned());
        self.blocking(move || accounts.mailbox_proven(&id)).await
    }

    /// Where a request comes from.
    pub(super) fn origin(&self, request: &Parts) -> Origin {
        let peer = self.0.site.client(self.socket(request), &request.headers);
        self.origin_of(request, peer, RequestId::next())
    }
    pub(super) fn origin_of(&self, request: &Parts, peer: IpAddr, id: RequestId) -> Origin {
        Origin {
            peer: peer.to_string(),
            request: id.to_string(),
            language: languages(request),
            actor: "anonymous".into(),
            cookies: self.0.cookie.all_beside(&request.headers),
        }
    }
    /// What the application does of itself.
    pub(super) fn own_origin() -> Origin {
        Origin { actor: "application".into(), ..Origin::default() }
    }

    /// What the application does may block.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, super::Unavailable> + Send + 'static,
    ) -> Result<T, Refusal> {
        let panicked = |_| unavailable(super::Unavailable::new("it panicked"));
        spawn_blocking(work).await.map_err(panicked)?.map_err(unavailable)
    }
}
