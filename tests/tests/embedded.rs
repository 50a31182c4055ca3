//! The typed client of an embedded kernel, in process with the real libraries: what each operation grants, and to whom.
use countersign_host::{
    Config, Kernel,
    embed::{
        Account, Accounts, Authentication, Challenged, Embedded, Entry, FirstFactor, Issued, Parts, Sessions,
        SignedIn, Unavailable,
        mfa::{Acting, Mfa, Standing},
    },
};
use countersign_plugin_api::{Latency, Problem, Refusal, Secret, Time};
use countersign_test_kit::totp;
use countersign_tests::{Site, fixture};
use http::Request;
use serde_json::Value;
use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, mpsc::channel},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::runtime::{Builder, Handle, Runtime};

const ANN: &str = "7";
const ADDRESS: &str = "ann@example.org";

/// An application with one account.
struct One;

impl Accounts for One {
    fn by_id(&self, id: &str) -> Result<Option<Account>, Unavailable> {
        Ok((id == ANN).then(|| Account {
            id: ANN.into(),
            email: ADDRESS.into(),
            email_verified: true,
            role: "user".into(),
            languages: String::new(),
            created_at: Time::from_secs(1),
        }))
    }
    fn by_email(&self, address: &str) -> Result<Option<Account>, Unavailable> {
        if address.eq_ignore_ascii_case(ADDRESS) { self.by_id(ANN) } else { Ok(None) }
    }
    fn mailbox_proven(&self, id: &str) -> Result<(), Unavailable> {
        Err(Unavailable::new(id))
    }
    fn latency(&self) -> Latency {
        Latency::Quick
    }
}

/// The same, whose password is reset while one is being looked at, once.
struct Reset(Arc<Mutex<Option<Embedded>>>);

impl Accounts for Reset {
    fn by_id(&self, id: &str) -> Result<Option<Account>, Unavailable> {
        One.by_id(id)
    }
    fn by_email(&self, address: &str) -> Result<Option<Account>, Unavailable> {
        One.by_email(address)
    }
    fn check_password(&self, account: Option<&Account>, _: &Secret<String>) -> Result<bool, Unavailable> {
        let kernel = self.0.lock().expect("a kernel").take();
        if let Some(kernel) = kernel {
            Handle::current().block_on(kernel.password_reset(ANN)).map_err(Unavailable::new)?;
        }
        Ok(account.is_some())
    }
    fn mailbox_proven(&self, id: &str) -> Result<(), Unavailable> {
        Err(Unavailable::new(id))
    }
    fn latency(&self) -> Latency {
        Latency::Quick
    }
}

/// The same, where every password is right.
struct Always;

impl Accounts for Always {
    fn by_id(&self, id: &str) -> Result<Option<Account>, Unavailable> {
        One.by_id(id)
    }
    fn by_email(&self, address: &str) -> Result<Option<Account>, Unavailable> {
        One.by_email(address)
    }
    fn check_password(&self, account: Option<&Account>, _: &Secret<String>) -> Result<bool, Unavailable> {
        Ok(account.is_some())
    }
    fn mailbox_proven(&self, id: &str) -> Result<(), Unavailable> {
        Err(Unavailable::new(id))
    }
    fn latency(&self) -> Latency {
        Latency::Quick
    }
}

/// Whose sessions were to end.
#[derive(Clone, Default)]
struct Ended(Arc<Mutex<Vec<String>>>);

impl Sessions for Ended {
    async fn ticket(&self, _: &Parts) -> Result<Option<String>, Unavailable> {
        Ok(None)
    }
    async fn keep(&self, _: &Parts, _: &Authentication) -> Result<Issued, Unavailable> {
        Ok(Issued::default())
    }
    async fn end(&self, _: &Parts) -> Result<Issued, Unavailable> {
        Ok(Issued::default())
    }
    async fn end_all(&self, id: &str) -> Result<(), Unavailable> {
        self.0.lock().expect("a list").push(id.into());
        Ok(())
    }
    fn socket(&self, _: &Parts) -> IpAddr {
        Ipv4Addr::LOCALHOST.into()
    }
}

/// A kernel in an application. Fields are dropped in this order.
struct Running {
    kernel: Embedded,
    ended: Ended,
    runtime: Runtime,
    site: Site,
}

impl Running {
    fn start() -> Self {
        Self::with(One)
    }
    fn with(accounts: impl Accounts) -> Self {
        Self::on(Site::new(), accounts)
    }
    fn on(site: Site, accounts: impl Accounts) -> Self {
        let ended = Ended::default();
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let config = Config::load(&site.config()).expect("a configuration");
        let builder = Kernel::builder(config).accounts(accounts).sessions(ended.clone());
        let kernel = runtime.block_on(builder.start()).unwrap_or_else(|error| panic!("{error}"));
        Self { kernel, ended, runtime, site }
    }
    /// What it leaves behind.
    fn stop(self) -> Site {
        let Self { kernel, runtime, site, .. } = self;
        drop(kernel);
        drop(runtime);
        site
    }
    fn mfa(&self) -> Mfa {
        self.kernel.mfa().expect("a gate")
    }
}

fn password() -> FirstFactor {
    FirstFactor::password(ANN)
}
fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs()
}
/// What an app shows `steps` from now.
fn shown(key: &Secret<String>, steps: u64) -> Secret<String> {
    Secret::new(totp::code(key.expose(), now() + steps * totp::STEP).expect("a code"))
}
fn wrong(key: &Secret<String>) -> Secret<String> {
    let near: Vec<String> = (0..4).map(|step| shown(key, step).expose().clone()).collect();
    let code = (0..1000).map(|n| format!("{n:06}")).find(|code| !near.contains(code));
    Secret::new(code.expect("a code that is not shown"))
}
#[track_caller]
fn signed_in(entry: Result<Entry, Refusal>) -> Authentication {
    match entry {
        Ok(Entry::SignedIn(SignedIn { authentication, .. })) => authentication,
        Ok(Entry::Challenged(_)) => panic!("a challenge"),
        Err(refusal) => panic!("{refusal}"),
    }
}
#[track_caller]
fn challenged(entry: Result<Entry, Refusal>) -> Challenged {
    match entry {
        Ok(Entry::Challenged(challenged)) => challenged,
        Ok(Entry::SignedIn(_)) => panic!("no challenge"),
        Err(refusal) => panic!("{refusal}"),
    }
}
#[track_caller]
fn refused<T>(outcome: Result<T, Refusal>, problem: Problem) {
    assert_eq!(outcome.err().map(|refusal| refusal.problem()), Some(problem));
}

/// Enrols; the key, the recovery codes, and who is signed in.
fn enrolled(mfa: &Mfa) -> (Secret<String>, Vec<Secret<String>>, Authentication) {
    let own = signed_in(mfa.issue_challenge(&password()).wait());
    let begun = mfa.enroll_totp(&own, "phone").wait().expect("an enrolment");
    refused(mfa.activate_totp(&own, &begun.id, &wrong(&begun.secret)).wait(), Problem::InvalidCode);
    assert!(!mfa.required(&password()).wait().expect("an answer"), "enrolling arms nothing");
    let done = mfa.activate_totp(&own, &begun.id, &shown(&begun.secret, 0)).wait().expect("activation");
    assert_eq!((done.factor.label.as_str(), done.recovery_codes.len()), ("phone", 8));
    // A credential event: the ticket of before is over.
    refused(mfa.status(&own).wait(), Problem::SessionRequired);
    (begun.secret, done.recovery_codes, done.authentication)
}

#[test]
fn a_login_is_completed_once_by_who_holds_it() {
    let running = Running::start();
    let mfa = running.mfa();
    let (key, codes, own) = enrolled(&mfa);
    assert_eq!(*running.ended.0.lock().expect("a list"), [ANN]);
    let status = mfa.status(&own).wait().expect("a status");
    assert!(
        status.enabled && status.factors.len() == 1 && mfa.required(&password()).wait().expect("an answer")
    );

    let login = challenged(mfa.issue_challenge(&password()).wait());
    let state = mfa.verify_challenge(&login).wait().expect("a state");
    assert_eq!((state.subject.as_str(), state.status), (ANN, Standing::Pending));
    refused(mfa.verify_totp(&login, &shown(&key, 0)).wait(), Problem::InvalidCode);
    // Without the session that waits, its challenge is worth nothing; and it may do nothing else.
    refused(
        mfa.verify_totp(Acting::challenge(&login.challenge), &shown(&key, 1)).wait(),
        Problem::ChallengeInvalid,
    );
    refused(mfa.status(&login.pending).wait(), Problem::MfaRequired);
    refused(mfa.generate_recovery_codes(&login.pending).wait(), Problem::MfaRequired);

    let done = mfa.verify_totp(&login, &shown(&key, 1)).wait().expect("a login");
    assert_eq!(done.authentication.amr(), ["pwd", "otp"]);
    assert!(!done.authentication.is_pending() && done.authentication.mfa_verified_at().is_some());
    refused(mfa.verify_recovery_code(&login, &codes[0]).wait(), Problem::SessionRequired);

    // A program holds nothing but its challenge. Awaited, on the event loop.
    let login = challenged(mfa.issue_challenge(&password().bearer()).wait());
    let program = Acting::challenge(&login.challenge);
    let verified =
        running.runtime.block_on(async { mfa.verify_recovery_code(program.clone(), &codes[0]).await });
    assert_eq!(verified.expect("a login").recovery_codes_remaining, Some(7));
    refused(mfa.verify_recovery_code(program, &codes[1]).wait(), Problem::ChallengeInvalid);

    let fresh = mfa.generate_recovery_codes(&done.authentication).wait().expect("new codes");
    assert_eq!(fresh.len(), 8);
    let bare = mfa.disable_totp(&done.authentication, None).wait().expect("no factor is left");
    assert!(!mfa.status(&bare).wait().expect("a status").enabled);
    refused(mfa.status(&done.authentication).wait(), Problem::SessionRequired);
}

#[test]
fn a_password_that_is_replaced_while_it_is_looked_at_signs_nobody_in() {
    let later = Arc::new(Mutex::new(None));
    let running = Running::with(Reset(later.clone()));
    *later.lock().expect("a kernel") = Some(running.kernel.clone());
    let (request, ()) = Request::new(()).into_parts();
    let login = || running.runtime.block_on(running.kernel.login(&request, ADDRESS, &secret("a password")));
    refused(login(), Problem::InvalidCredentials);
    assert_eq!(signed_in(login()).amr(), ["pwd"]);
}

#[test]
fn the_password_class_and_the_second_factor_have_a_budget_each() {
    let running = Running::start();
    let mfa = running.mfa();
    let (key, codes, _) = enrolled(&mfa);
    for address in [ADDRESS, "nobody@example.org"] {
        assert_eq!(mfa.is_locked(address).wait().expect("an answer"), None);
        let until: Vec<_> = (0..5).map(|_| mfa.record_failure(address).wait().expect("an answer")).collect();
        assert!(until[..4].iter().all(Option::is_none) && until[4].is_some(), "{until:?}");
        assert_eq!(mfa.is_locked(address).wait().expect("an answer"), until[4]);
    }
    let login = challenged(mfa.issue_challenge(&password()).wait());
    for _ in 0..5 {
        refused(mfa.verify_totp(&login, &wrong(&key)).wait(), Problem::InvalidCode);
    }
    refused(mfa.verify_recovery_code(&login, &codes[0]).wait(), Problem::Locked);
    // A right password forgives passwords alone.
    mfa.reset(ADDRESS).wait().expect("it is reset");
    assert_eq!(mfa.is_locked(ADDRESS).wait().expect("an answer"), None);
    let login = challenged(mfa.issue_challenge(&password()).wait());
    refused(mfa.verify_recovery_code(&login, &codes[0]).wait(), Problem::Locked);
    mfa.admin("jane").unlock(ANN).wait().expect("it is unlocked");
    let own = mfa.verify_recovery_code(&login, &codes[0]).wait().expect("a login").authentication;

    refused(mfa.admin("jane").reset("nobody").wait(), Problem::NotFound);
    mfa.admin("jane").reset(ANN).wait().expect("it is reset");
    assert!(!mfa.admin("jane").status(ANN).wait().expect("a status").enabled);
    refused(mfa.status(&own).wait(), Problem::SessionRequired);
}

#[test]
fn links_passwords_codes_and_settings() {
    let running = Running::on(Site::new().with_mail(), One);
    let mfa = running.mfa();
    let key = secret("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
    for (code, at, valid) in
        [("287082", 59, true), ("287082", 89, true), ("287082", 90, false), ("287083", 59, false)]
    {
        let outcome = mfa.validate_totp_at(&key, &secret(code), Time::from_secs(at)).wait();
        assert_eq!(outcome.expect("an answer"), valid, "{code} at {at}"); // RFC 6238, appendix B
    }
    let config = mfa.config().wait().expect("settings");
    assert_eq!((config.lockout_threshold, config.password_min_length, config.recovery_codes), (5, 12, 8));
    assert_eq!(mfa.validate_password(&secret("short"), None).wait().expect("rules"), ["too-short"]);
    assert!(mfa.validate_password(&secret("correct horse battery"), None).wait().expect("rules").is_empty());

    assert!(mfa.magic_link_token("nobody@example.org").wait().expect("an answer").token.is_none());
    let link = || mfa.magic_link_token(ADDRESS).wait().expect("an answer").token.expect("a token");
    let first = link();
    let newest = link();
    let follow = |token: &Secret<String>| mfa.verify_magic_link(token).wait();
    refused(follow(&first), Problem::LinkInvalid);
    assert_eq!(signed_in(follow(&newest)).amr(), ["email"]);
    refused(follow(&newest), Problem::LinkInvalid);
    // A first factor only, and no second one is asked for at the mailbox.
    enrolled(&mfa);
    let login = challenged(follow(&link()));
    refused(mfa.send_otp(&login).wait(), Problem::Forbidden);
    mfa.cancel_challenge(&login).wait().expect("it is over");
    refused(mfa.verify_challenge(&login).wait(), Problem::SessionRequired);
    // After a password the mailbox is another factor.
    let login = challenged(mfa.issue_challenge(&password()).wait());
    mfa.send_otp(&login).wait().expect("it is mailed");
    let mail = running.site.mailbox().take_where(ADDRESS, |mail| mail.subject.contains("code"));
    let done = mfa.verify_otp(&login, &secret(mail.code())).wait().expect("a login");
    assert_eq!(done.authentication.amr(), ["pwd", "email"]);
    refused(mfa.disable_totp(&done.authentication, None).wait(), Problem::StepUpRequired);
}

/// What is tried is on record as it is with the host: at a lock as well, and with the login that it was for.
#[test]
fn tries_are_on_record_and_a_lock_keeps_none_of_them_off_it() {
    let running = Running::start();
    let mfa = running.mfa();
    let (key, ..) = enrolled(&mfa);
    let (request, ()) = Request::new(()).into_parts();
    let login =
        |address: &str| running.runtime.block_on(running.kernel.login(&request, address, &secret("wrong")));
    for address in [ADDRESS, "nobody@example.org"] {
        for _ in 0..5 {
            refused(login(address), Problem::InvalidCredentials);
        }
        for _ in 0..3 {
            refused(login(address), Problem::Locked);
        }
    }
    assert!(mfa.record_failure(ADDRESS).wait().expect("an answer").is_some());
    let waiting = challenged(mfa.issue_challenge(&password().bearer()).wait());
    let program = Acting::challenge(&waiting.challenge);
    refused(mfa.verify_totp(program, &wrong(&key)).wait(), Problem::InvalidCode);
    let id = waiting.pending.id().to_owned();

    drop(mfa);
    let site = running.stop();
    let output = site.run(&["audit", "tail", "--json", "-n", "1000"]);
    let text = String::from_utf8(output.stdout).expect("text");
    let all: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let named = |name: &'static str| all.iter().filter(move |event| event["event"] == name);
    for (name, rows) in [("login.failed", 5), ("login.refused", 1), ("login.challenged", 1)] {
        assert_eq!(named(name).filter(|event| event["subject"] == ANN).count(), rows, "{name}: {all:?}");
    }
    for name in ["login.challenged", "mfa.totp.refused"] {
        let event = named(name).next_back().expect("recorded");
        assert_eq!((&event["session"], &event["actor"]), (&id.clone().into(), &ANN.into()), "{event}");
    }
}

/// A gate that hangs: whoever signs in by the application is answered for as over HTTP, and is not let in.
#[test]
fn nobody_waits_for_a_gate_that_hangs() {
    let site = Site::new();
    let armed = site.path("armed");
    site.edit(|config| {
        let plugins = config["plugin"].as_array_of_tables_mut().expect("plugins");
        plugins.retain(|plugin| plugin["file"].as_str().is_some_and(|file| !file.contains("mfa")));
        config.remove("mfa");
    });
    site.add_plugin(&fixture("hangs"));
    site.set("hangs.gates", true);
    site.set("hangs.armed_by", armed.to_str().expect("a path of text"));
    let running = Running::on(site, Always);
    let (request, ()) = Request::new(()).into_parts();
    let login = || running.runtime.block_on(running.kernel.login(&request, ADDRESS, &secret("a password")));
    signed_in(login());
    fs::write(&armed, "").expect("armed");
    // Should nobody answer for it, it is let go after a while, and that is seen.
    let (done, is_done) = channel();
    let trap = armed.clone();
    let letting_go = thread::spawn(move || {
        if is_done.recv_timeout(Duration::from_mins(1)).is_err() {
            fs::remove_file(trap).expect("disarmed");
        }
    });
    refused(login(), Problem::PluginFault);
    let first = password();
    refused(running.runtime.block_on(running.kernel.after_primary(&request, &first)), Problem::PluginFault);
    done.send(()).ok();
    letting_go.join().expect("no panic");
    fs::remove_file(&armed).expect("it was answered for while it hung");
    let give_up = Instant::now() + Duration::from_mins(1);
    while login().is_err() {
        assert!(Instant::now() < give_up, "the gate has come back, and nobody is let in");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_is_missing_is_told_at_once() {
    let site = Site::new();
    site.set("plugin_dir", "nowhere");
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let problems = runtime.block_on(Kernel::configured_by(site.config()).start()).err().expect("a refusal").0;
    let said = problems.join("\n");
    for expected in ["accounts(..)", "sessions(..)"] {
        assert!(said.contains(expected), "{said}");
    }
    site.set("mfa.lockout.threshold", 0);
    let builder = Kernel::configured_by(site.config()).sessions(Ended::default());
    let said = runtime.block_on(builder.start()).err().expect("a refusal").to_string();
    assert!(said.contains("accounts(..)") && said.contains("nowhere"), "{said}");
}
