//! What the owner of an account is told by mail: each change of what opens it, and each sign of somebody else.
use countersign_tests::{Host, PASSWORD};
use serde_json::json;
use std::time::Duration;

#[test]
fn the_owner_hears_of_everything_that_happens_to_what_opens_the_account() {
    let host = Host::start();
    let mut ann = host.user_fixture("ann@example.org");
    let told = |subject: &str| {
        host.site().mailbox().take_where("ann@example.org", |mail| mail.subject == subject);
    };
    let mut home = host.setup_totp(&mut ann);
    told("An authenticator app was added");
    host.trust_browser(&ann);
    told("A browser is trusted");
    told("A sign-in from a new browser");
    host.simulate_lockout(&ann);
    told("Wrong codes for your account");
    told("Sign-ins are locked");

    host.site().clock().advance(Duration::from_mins(15));
    let code = json!({ "code": ann.recovery_codes[0] });
    host.mfa_pending_session(&ann).ask("POST /mfa/recovery/verify", code).expect(200);
    told("A recovery code was used");
    host.complete_mfa(&mut home, &ann);
    home.ask("POST /mfa/recovery/generate", json!({})).expect(200);
    told("New recovery codes");
    let change = json!({ "current_password": PASSWORD, "new_password": "staple battery horse correct" });
    home.ask("POST /password/change", change).expect(204);
    told("Your password was changed");
    home.ask("POST /mfa/totp/disable", json!({})).expect(204);
    told("An authenticator app was removed");

    // Nothing came twice, though much of it was done twice within the hour.
    let mut subjects: Vec<String> =
        host.site().mailbox().mails().into_iter().map(|mail| mail.subject).collect();
    subjects.retain(|subject| subject != "A sign-in from a new browser");
    assert!(subjects.is_empty(), "{subjects:?}");
    host.stop();
}
