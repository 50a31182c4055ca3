//! The whole way of a person in a real browser: with and without scripts, on a phone and on a desktop, light and
//! dark. `BLESS=1` writes what the pages look like to `docs/screenshots`.
use countersign_tests::{Chromium, Host, PASSWORD, Site, View, axe, oathtool, scan_picture};
use serde_json::{Value, json};
use std::{fs, time::Duration};
use xtask::project::root;

#[path = "browser/mail.rs"]
mod mail;

const EMAIL: &str = "ann@example.org";

macro_rules! walks {
    ($($name:ident: $width:literal, $dark:literal, $scripts:literal;)*) => {
        $(#[test]
        fn $name() {
            Walk::new(View { width: $width, dark: $dark, scripts: $scripts }).go();
        })*
    };
}
walks! {
    on_a_phone: 360, false, true;
    on_a_dark_phone: 360, true, true;
    on_a_desktop: 1280, false, true;
    on_a_dark_desktop: 1280, true, true;
    on_a_phone_without_scripts: 360, false, false;
    on_a_dark_phone_without_scripts: 360, true, false;
    on_a_desktop_without_scripts: 1280, false, false;
    on_a_dark_desktop_without_scripts: 1280, true, false;
}

/// A mailed sign-up link, opened by whom it may reach.
#[test]
fn a_sign_up_is_confirmed_where_it_was_made_and_with_its_password_elsewhere() {
    let site = Site::with_store("memory").with_clock().with_mail().with("registration", "verified");
    let mut walk = Walk::on(site.start(), View { width: 360, dark: true, scripts: true });
    let mut elsewhere = Chromium::open(View { width: 360, dark: false, scripts: false });
    let other = "staple battery horse correct";

    let link = asks_for_an_account(&walk.host, &mut walk.browser, EMAIL, PASSWORD);
    walk.browser.go(&link);
    assert!(walk.browser.text("main").contains("You signed up as ann@example.org in this browser"));
    walk.seen("sign-up-here");
    walk.submit();
    walk.browser.wait_for(".notice");
    walk.signs_in();
    walk.browser.wait_for("body.wide");
    walk.signs_out();
    walk.browser.go(&link);
    assert!(walk.browser.text("main").contains("This link was used"));

    let link = asks_for_an_account(&walk.host, &mut walk.browser, "bob@example.org", PASSWORD);
    elsewhere.go(&link);
    assert!(elsewhere.text("main").contains("If you did not sign up, close this page"));
    elsewhere.fill("#verify-password", other);
    elsewhere.click("main form > button");
    elsewhere.wait_for("#verify-password-error");
    elsewhere.fill("#verify-password", PASSWORD);
    elsewhere.click("main form > button");
    elsewhere.wait_for(".notice");

    // Whoever did not sign up, and wants the account, has it with a password of their own.
    let link = asks_for_an_account(&walk.host, &mut elsewhere, "cleo@example.org", other);
    walk.browser.go(&link);
    assert_eq!(walk.browser.focused(), "verify-password");
    walk.seen("sign-up-elsewhere");
    walk.browser.click("summary");
    walk.browser.fill("#choose-new_password", "short");
    walk.browser.click("details button.secondary");
    walk.browser.wait_for("#choose-new_password-error");
    walk.seen("sign-up-elsewhere-wrong");
    walk.browser.fill("#choose-new_password", PASSWORD);
    walk.browser.click("details button.secondary");
    walk.browser.wait_for(".notice");
    for (email, password, status) in [
        ("bob@example.org", PASSWORD, 200),
        ("cleo@example.org", other, 401),
        ("cleo@example.org", PASSWORD, 200),
    ] {
        let body = json!({ "email": email, "password": password });
        assert_eq!(walk.host.browser().ask("POST /login", body).status, status, "{email}");
    }
    walk.host.stop();
}

/// Answers where the link leads that is mailed.
fn asks_for_an_account(host: &Host, browser: &mut Chromium, email: &str, password: &str) -> String {
    let url = |path: &str| format!("http://{}{path}", host.address());
    browser.go(&url("/register"));
    browser.fill("#register-email", email);
    browser.fill("#register-password", password);
    browser.click("main form > button");
    browser.wait_for(".notice");
    let mail = host.site().mailbox().take(email);
    url(&format!("/email/verify?token={}", mail.token()))
}

struct Walk {
    host: Host,
    browser: Chromium,
    view: View,
    axe: String,
    secret: String,
}

impl Walk {
    fn new(view: View) -> Self {
        Self::on(Host::start(), view)
    }
    fn on(host: Host, view: View) -> Self {
        let browser = Chromium::open(view);
        let axe = if view.scripts { axe() } else { String::new() };
        Self { host, browser, view, axe, secret: String::new() }
    }

    fn go(mut self) {
        self.signs_up();
        let recovery = self.enrols();
        self.meets_the_challenge();
        self.is_remembered_until_forgotten();
        self.recovers(&recovery);
        self.looks_around();
        self.host.stop();
    }

    fn signs_up(&mut self) {
        self.visit("/settings/mfa");
        assert_eq!(self.browser.focused(), "login-email");
        self.seen("login");
        self.browser.click("a[href*='register']");
        self.browser.fill("#register-email", EMAIL);
        self.browser.fill("#register-password", "password1234");
        self.submit();
        self.browser.wait_for("#register-password-error");
        assert_eq!(self.browser.focused(), "register-password", "the focus is where the problem is");
        self.seen("register");
        self.browser.fill("#register-password", PASSWORD);
        self.submit();
        self.browser.wait_for("#enroll-label");
        self.at("/settings/mfa");
        self.seen("settings-empty");
    }

    /// Answers a recovery code.
    fn enrols(&mut self) -> String {
        self.browser.fill("#enroll-label", "phone");
        self.browser.click("section form > button");
        self.browser.wait_for(".qr svg");
        self.seen("enrol");
        let picture = tempfile::Builder::new().suffix(".png").tempfile().expect("a file");
        self.browser.picture(picture.path());
        let uri = scan_picture(picture.path());
        self.secret = self.browser.attribute("#key", "data-text").expect("a key");
        assert!(uri.contains(&format!("secret={}", self.secret)), "the camera reads what is typed: {uri}");

        let wrong = self.wrong_code();
        self.code("#activate-code", &wrong);
        self.browser.wait_for("#activate-code-error");
        assert_eq!(self.browser.focused(), "activate-code");
        assert!(self.browser.has(".qr svg"), "the picture is still there");
        self.seen("enrol-wrong");
        let code = self.next_code();
        self.code("#activate-code", &code);
        self.browser.wait_for("#recovery-codes");
        self.seen("recovery-codes");
        let shown = self.browser.text("#recovery-codes");
        assert_eq!(shown.lines().count(), 8, "{shown}");
        let offers = self.browser.has("button[data-copies]:not([hidden])")
            && self.browser.has("button[data-saves]:not([hidden])");
        assert_eq!(offers, self.view.scripts, "what does not work is not offered");
        self.submit();
        self.browser.wait_for("#recovery-codes");
        self.browser.click("#saved");
        self.submit();
        self.browser.wait_for(".notice");
        self.seen("settings");
        shown.lines().next().expect("a code").to_owned()
    }

    fn meets_the_challenge(&mut self) {
        self.signs_out();
        self.signs_in();
        self.browser.wait_for("#totp-code");
        assert_eq!(self.browser.focused(), "totp-code");
        self.seen("challenge");
        self.browser.click("#totp-trust_browser");
        let wrong = self.wrong_code();
        if self.view.scripts {
            // Nothing goes off before it is complete, and what was refused goes off no second time.
            let before = self.posts();
            let (start, rest) = wrong.split_at(5);
            self.browser.fill("#totp-code", start);
            assert_eq!(self.browser.attribute("#totp-code", "data-tried").as_deref(), Some(""));
            self.browser.fill("#totp-code", rest);
            self.browser.wait_for("#totp-code-error");
            assert_eq!(self.posts(), before + 1);
            self.browser.fill("#totp-code", &wrong);
            self.browser.run("arguments[arguments.length - 1]()", &json!([]));
            assert_eq!(self.posts(), before + 1);
            self.browser.run("document.getElementById('totp-code').value = ''; return 0", &json!([]));
        } else {
            self.code("#totp-code", &wrong);
            self.browser.wait_for("#totp-code-error");
        }
        self.seen("challenge-wrong");
        assert!(self.browser.has("#totp-trust_browser:checked"), "what was ticked stays so");
        let code = self.next_code();
        self.code("#totp-code", &code);
        self.browser.wait_for("body.wide");
        self.at("/");
        self.seen("home");
    }

    fn is_remembered_until_forgotten(&mut self) {
        self.signs_out();
        self.signs_in();
        self.browser.wait_for("body.wide");
        self.at("/");
        self.visit("/settings/mfa");
        self.seen("settings-remembered");
        self.browser.click("section[aria-labelledby=browsers] button");
        self.browser.wait_for(".notice");
        self.signs_out();
        self.signs_in();
        self.browser.wait_for("#totp-code");
    }

    fn recovers(&mut self, code: &str) {
        self.browser.click("a[href*='method=recovery']");
        self.browser.wait_for("#recovery-code");
        self.seen("challenge-recovery");
        self.browser.fill("#recovery-code", code);
        self.submit();
        self.browser.wait_for("body.wide");
    }

    fn looks_around(&mut self) {
        self.visit("/settings/sessions");
        self.seen("sessions");
        self.visit("/settings/password");
        self.seen("password");
        // A proof grows old, and what needs a fresh one asks for it first.
        self.host.site().clock().advance(Duration::from_mins(6));
        self.visit("/settings/password");
        self.browser.wait_for("#totp-code");
        self.seen("step-up");
        let code = self.next_code();
        self.code("#totp-code", &code);
        self.browser.wait_for("#change-new_password");
        self.at("/settings/password");
        self.signs_out();
        for (path, name) in [
            ("/password/forgot", "password-forgot"),
            ("/password/reset?token=v1.a.b.c", "password-reset"),
            ("/email/verify?token=v1.a.b.c", "email-verify"),
            ("/nothing", "error"),
        ] {
            self.visit(path);
            self.seen(name);
        }
        // Too long for a picture.
        self.visit("/openapi");
        self.sound("openapi");
    }

    fn signs_out(&mut self) {
        self.browser.click(".leave button");
        self.browser.wait_for("#login-email");
    }
    fn signs_in(&mut self) {
        self.signs_in_with(PASSWORD);
    }
    fn signs_in_with(&mut self, password: &str) {
        self.visit("/login");
        self.browser.fill("#login-email", EMAIL);
        self.browser.fill("#login-password", password);
        self.submit();
    }
    fn visit(&mut self, path: &str) {
        self.browser.go(&format!("http://{}{path}", self.host.address()));
    }
    #[track_caller]
    fn at(&mut self, path: &str) {
        let url = self.browser.url();
        assert_eq!(url, format!("http://{}{path}", self.host.address()));
    }
    fn submit(&mut self) {
        self.browser.click("main form > button");
    }
    /// Types a code; with scripts it goes off by itself.
    fn code(&mut self, field: &str, code: &str) {
        self.browser.fill(field, code);
        if !self.view.scripts {
            self.browser.click("main form button:not(.link, .secondary, [hidden])");
        }
    }
    fn next_code(&self) -> String {
        let clock = self.host.site().clock();
        clock.advance(Duration::from_secs(30));
        oathtool(&self.secret, clock.now())
    }
    fn wrong_code(&self) -> String {
        let now = self.host.site().clock().now();
        let near: Vec<String> = (0..9).map(|step| oathtool(&self.secret, now + 30 * step - 120)).collect();
        let mut all = (0..1_000_000).map(|number| format!("{number:06}"));
        all.find(|code| !near.contains(code)).expect("a code that is wrong")
    }
    /// How many forms were posted to the challenge.
    fn posts(&self) -> usize {
        let log = self.host.log();
        let posted = |line: &&str| line.contains("\"POST\"") && line.contains("\"/mfa/challenge\"");
        log.lines().filter(posted).count()
    }

    /// A page: nothing is wrong with it, and this is what it looks like.
    #[track_caller]
    fn seen(&mut self, name: &str) {
        self.sound(name);
        let View { width, dark, scripts } = self.view;
        // Of eight views two show all there is to be seen.
        if std::env::var_os("BLESS").is_some() && scripts && (width < 1000) == dark {
            let scheme = if dark { "dark" } else { "light" };
            let folder = root().join("docs/screenshots");
            fs::create_dir_all(&folder).expect("a folder");
            self.browser.picture(&folder.join(format!("{name}-{width}-{scheme}.png")));
        }
    }

    /// A page with which nothing is wrong.
    #[track_caller]
    fn sound(&mut self, name: &str) {
        if self.view.scripts {
            self.browser.run(&format!("{}; return 0", self.axe), &json!([]));
            let run = "const done = arguments[arguments.length - 1]; \
                       axe.run(document).then((found) => done(found.violations), (error) => done(String(error)))";
            let violations = self.browser.run(run, &json!([]));
            assert_eq!(violations, Value::Array(Vec::new()), "axe on {name}: {violations:#}");
            let wide = self.browser.run("return document.documentElement.scrollWidth", &json!([]));
            assert!(wide.as_u64() <= Some(self.view.width.into()), "{name} is {wide} wide");
        }
        let complaints = self.browser.complaints();
        assert!(complaints.is_empty(), "{name}: {complaints:#?}");
    }
}
