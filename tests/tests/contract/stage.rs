//! A host with everything on, and people for each case of their own: no case is disturbed by another.
use countersign_tests::{Client, Description, Host, Mail, Reply, Site, User, api};
use serde_json::{Value, json};
use std::{cell::Cell, ops::Deref};

pub(crate) struct Stage {
    host: Host,
    description: Description,
    people: Cell<u32>,
    asking: Cell<&'static str>,
}

impl Deref for Stage {
    type Target = Host;
    fn deref(&self) -> &Host {
        &self.host
    }
}

impl Drop for Stage {
    #[expect(clippy::print_stderr, reason = "what a failed test shows")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("asking {}\n{}", self.asking.get(), self.host.log());
        }
    }
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::on(Site::with_store("memory").with_clock().with_mail())
    }
    pub(crate) fn on(site: Site) -> Self {
        let host = site.start();
        let description = Description::of(&host);
        Self { host, description, people: Cell::new(0), asking: Cell::new("nothing yet") }
    }
    pub(crate) fn description(&self) -> &Description {
        &self.description
    }
    /// An answer to a row must be one that `/openapi.json` knows.
    #[track_caller]
    pub(crate) fn described(&self, row: &str, reply: &Reply) {
        let (method, path) = row.split_once(' ').expect("a method and a path");
        let objection = self.description.objection(method, &api(path), reply);
        assert_eq!(objection, None, "{row} answers what is not described: {}", reply.text());
    }
    pub(crate) fn asking(&self, row: &'static str) {
        self.asking.set(row);
    }

    /// An address that nobody had before.
    pub(crate) fn new_address(&self) -> String {
        self.people.set(self.people.get() + 1);
        format!("somebody{}@example.org", self.people.get())
    }
    /// Somebody who has just signed up, and the browser.
    pub(crate) fn somebody(&self) -> (Client, User) {
        self.registered(&self.new_address())
    }
    /// Somebody with an authenticator, and the browser that set it up just now.
    pub(crate) fn enrolled(&self) -> (Client, User) {
        let (mut browser, mut user) = self.somebody();
        self.setup_totp_in(&mut browser, &mut user);
        (browser, user)
    }
    /// The same, in a browser that waits for the second factor.
    pub(crate) fn pending(&self) -> (Client, User) {
        let (_, user) = self.enrolled();
        (self.mfa_pending_session(&user), user)
    }
    /// Lets proofs grow stale.
    pub(crate) fn later(&self, secs: u64) {
        self.site().clock().advance(std::time::Duration::from_secs(secs));
    }

    /// The body of a proof that is right, or wrong.
    pub(crate) fn right(&self, user: &User) -> Value {
        json!({ "code": self.generate_totp_code(user) })
    }
    pub(crate) fn wrong(&self, user: &User) -> Value {
        json!({ "code": self.generate_wrong_code(user) })
    }
    /// The mail with a link or a code to a user, whatever notices came before it.
    pub(crate) fn link(&self, email: &str) -> String {
        self.mail(email, "token=").token().to_owned()
    }
    pub(crate) fn mailed_code(&self, email: &str) -> String {
        self.site().mailbox().take_where(email, has_code).code().to_owned()
    }
    pub(crate) fn mail(&self, email: &str, says: &str) -> Mail {
        self.site()
            .mailbox()
            .take_where(email, |mail| mail.text.contains(says) || mail.subject.contains(says))
    }
    /// Has a sign-in link mailed, asked for by that browser; answers its token.
    pub(crate) fn magic_link(&self, browser: &mut Client, user: &User) -> String {
        browser.ask("POST /mfa/magic-link/send", json!({ "email": user.email })).expect(202);
        self.link(&user.email)
    }
    /// Has a link to set the password mailed; answers its token.
    pub(crate) fn reset_link(&self, user: &User) -> String {
        self.browser().ask("POST /password/reset", json!({ "email": user.email })).expect(202);
        self.link(&user.email)
    }
}

fn has_code(mail: &Mail) -> bool {
    mail.text.lines().any(|line| line.trim().len() == 6 && line.trim().bytes().all(|b| b.is_ascii_digit()))
}
