//! The ways that lead through a mailbox, with mails that a real delivery library was handed.
use super::{EMAIL, Walk};
use countersign_tests::{Mail, PASSWORD, Site, User, View};

const NEW_PASSWORD: &str = "staple battery horse correct";

#[test]
fn by_mail_on_a_dark_phone() {
    by_mail(View { width: 360, dark: true, scripts: true });
}

#[test]
fn by_mail_on_a_desktop_without_scripts() {
    by_mail(View { width: 1280, dark: false, scripts: false });
}

fn by_mail(view: View) {
    let site = Site::with_store("memory").with_clock().with_mail().with("registration", "verified");
    let mut walk = Walk::on(site.with("mfa.recovery.count", 2).start(), view);
    walk.signs_up_by_mail();
    walk.takes_a_code_by_mail();
    walk.forgets_the_password();
    walk.signs_in_by_a_link();
    walk.opens_a_link_elsewhere();
    walk.host.stop();
}

impl Walk {
    fn signs_up_by_mail(&mut self) {
        self.visit("/register");
        self.browser.fill("#register-email", EMAIL);
        self.browser.fill("#register-password", PASSWORD);
        self.submit();
        self.browser.wait_for("#login-email");
        assert!(self.browser.text(".notice").contains("A mail is on its way"));
        self.opens_the_mailed_link();
        self.browser.wait_for("form[action='/email/verify']");
        self.submit();
        self.browser.wait_for("#login-email");
        assert!(self.browser.text(".notice").contains("confirmed"));
        self.signs_in();
        self.browser.wait_for("body.wide");
    }

    /// In an account with an authenticator, which is not at hand.
    fn takes_a_code_by_mail(&mut self) {
        let mut user = User { email: EMAIL.into(), password: PASSWORD.into(), ..User::default() };
        self.host.setup_totp(&mut user);
        user.secret().clone_into(&mut self.secret);
        self.signs_in();
        self.browser.wait_for("#totp-code");
        self.browser.click("form:has(input[value=cancel]) button");
        self.browser.wait_for("#login-email");
        self.signs_in();
        self.browser.click("form:has(input[value=send]) button");
        self.browser.wait_for("#email-code");
        assert_eq!(self.browser.focused(), "email-code");
        self.seen("challenge-mail");
        let code = self.mailed(|mail| mail.text.lines().any(is_code)).code().to_owned();
        self.code("#email-code", &code);
        self.browser.wait_for("body.wide");
        self.at("/");
        assert!(self.browser.text(".warning").contains("Few recovery codes are left: 2"));
        self.seen("home-low");
    }

    fn forgets_the_password(&mut self) {
        self.signs_out();
        self.browser.click("a[href='/password/forgot']");
        self.browser.fill("#forgot-email", EMAIL);
        self.submit();
        self.browser.wait_for("#login-email");
        assert!(self.browser.text(".notice").contains("a mail is on its way"));
        self.opens_the_mailed_link();
        self.browser.fill("#reset-new_password", NEW_PASSWORD);
        self.submit();
        self.browser.wait_for("#login-email");
        assert!(self.browser.text(".notice").contains("new password is set"));
        self.signs_in_with(NEW_PASSWORD);
        self.browser.wait_for("#totp-code");
        assert!(!self.browser.has("input[value=send]"), "the mailbox alone does not open the door");
        self.proves_the_app();
    }

    fn signs_in_by_a_link(&mut self) {
        self.signs_out();
        self.asks_for_a_link();
        self.opens_the_mailed_link();
        self.browser.wait_for("form[action=verify]");
        assert!(self.browser.text("main").contains(EMAIL), "it says to which account");
        self.seen("magic-link");
        self.submit();
        self.browser.wait_for("#totp-code");
        self.at("/mfa/challenge");
        self.proves_the_app();
    }

    fn opens_a_link_elsewhere(&mut self) {
        self.signs_out();
        self.asks_for_a_link();
        let link = self.mailed_link();
        self.browser.forget();
        self.browser.go(&link);
        self.submit();
        self.browser.wait_for("input[name=confirm]");
        assert!(self.browser.text(".warning").contains("not the browser"));
        self.seen("magic-link-elsewhere");
        self.submit();
        self.browser.wait_for("#totp-code");
        self.browser.go(&link);
        assert!(self.browser.text(".problem").contains("was used"));
        self.seen("magic-link-over");
        self.visit("/mfa/challenge");
        self.proves_the_app();
    }

    fn asks_for_a_link(&mut self) {
        self.visit("/login");
        self.browser.click("details summary");
        self.browser.fill("#link-email", EMAIL);
        self.browser.click("details form > button");
        self.browser.wait_for(".notice");
    }
    fn proves_the_app(&mut self) {
        let code = self.next_code();
        self.code("#totp-code", &code);
        self.browser.wait_for("body.wide");
    }
    fn opens_the_mailed_link(&mut self) {
        let link = self.mailed_link();
        self.browser.go(&link);
    }
    /// Where the newest mail leads, on a line of its own.
    fn mailed_link(&self) -> String {
        let mail = self.mailed(|mail| mail.text.contains("token="));
        let link = mail.text.lines().map(str::trim).find(|line| line.starts_with("http"));
        link.expect("a link").to_owned()
    }
    fn mailed(&self, is_meant: impl Fn(&Mail) -> bool) -> Mail {
        self.host.site().mailbox().take_where(EMAIL, is_meant)
    }
}

fn is_code(line: &str) -> bool {
    line.trim().len() == 6 && line.trim().bytes().all(|byte| byte.is_ascii_digit())
}
