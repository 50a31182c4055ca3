//! What has been counted, spent or locked stays so when the power goes (R19, R54).
use countersign_tests::{Host, NONE, Site, User};
use serde_json::json;

fn host(store: &str) -> Host {
    Site::with_store(store).with_clock().start()
}

fn enrolled(host: &Host) -> User {
    let mut user = host.user_fixture("ann@example.org");
    host.setup_totp(&mut user);
    user
}

#[test]
fn four_wrong_guesses_and_a_power_cut_leave_one() {
    let mut host = host("sqlite");
    let user = enrolled(&host);
    for _ in 0..3 {
        let mut guesser = host.mfa_pending_session(&user);
        let wrong = json!({ "code": host.generate_wrong_code(&user) });
        for _ in 0..4 {
            guesser.ask("POST /mfa/totp/verify", &wrong).refused(401, "invalid-code");
        }
        host = host.kill().start();
        // The challenge outlives the process too, and so does what was guessed at it.
        guesser.ask("POST /mfa/totp/verify", &wrong).refused(401, "invalid-code");
        host = host.kill().start();
        let mut again = host.mfa_pending_session(&user);
        let right = json!({ "code": host.generate_totp_code(&user) });
        again.ask("POST /mfa/totp/verify", &right).refused(429, "locked");
        host.site().clock().advance(std::time::Duration::from_hours(2));
        host.signed_in(&user);
    }
    host.stop();
}

#[test]
fn wrong_passwords_are_counted_across_a_power_cut() {
    let mut host = host("sqlite");
    let user = host.user_fixture("ann@example.org");
    let wrong = json!({ "email": user.email, "password": "wrong horse battery staple" });
    for n in 0..5 {
        if n == 3 {
            host = host.kill().start();
        }
        host.browser().ask("POST /login", &wrong).refused(401, "invalid-credentials");
    }
    host = host.kill().start();
    host.browser().ask("POST /login", user.credentials()).refused(429, "locked");
    host.stop();
}

/// A factor and its last step live and die in one record, so a code that was good once is good no more, whether the
/// store remembers (then it is spent) or forgets (then there is nothing that it could open).
#[test]
fn a_spent_code_is_spent_after_a_restart_within_its_window() {
    for store in ["sqlite", "memory"] {
        let mut host = host(store);
        let user = enrolled(&host);
        let mut browser = host.mfa_pending_session(&user);
        let code = json!({ "code": host.generate_totp_code(&user) });
        browser.ask("POST /mfa/totp/verify", &code).expect(200);
        let mut waiting = host.mfa_pending_session(&user);
        host = host.kill().start();
        if store == "sqlite" {
            browser.ask("GET /me", NONE).expect(200);
            waiting.ask("POST /mfa/totp/verify", &code).refused(401, "invalid-code");
        } else {
            waiting.ask("POST /mfa/totp/verify", &code).refused(401, "session-required");
            host.browser().ask("POST /login", user.credentials()).refused(401, "invalid-credentials");
        }
        host.stop();
    }
}
