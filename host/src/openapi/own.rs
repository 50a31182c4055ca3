//! What is said about the host's own routes, in the form that plugins say it in.
use countersign_plugin_api::{
    Access::{Anyone, Enrolling, Session},
    Problem::{
        Conflict, EnrollmentRequired, Forbidden, InvalidCredentials, LinkInvalid, Locked, MfaRequired,
        NotFound, PasswordPolicy, RateLimited, SessionRequired, StepUpRequired,
    },
    Route,
};

const NOTHING: &str = r#"{"type":"object","properties":{}}"#;
const TOKEN: &str = r#"{"type":"object","required":["token"],"properties":{"token":{"type":"string"}}}"#;
const EMAIL: &str = r#"{"type":"object","required":["email"],"properties":{"email":{"type":"string"}}}"#;
const PASSWORD: &str =
    r#"{"type":"object","required":["password"],"properties":{"password":{"type":"string"}}}"#;
const CREDENTIALS: &str = r#"{"type":"object","required":["email","password"],"properties":{"email":{"type":"string"},"password":{"type":"string"},"session":{"enum":["cookie","bearer"]}}}"#;
const CHANGE: &str = r#"{"type":"object","required":["current_password","new_password"],"properties":{"current_password":{"type":"string"},"new_password":{"type":"string"}}}"#;
const CONFIRM: &str = r#"{"type":"object","required":["token","new_password"],"properties":{"token":{"type":"string"},"new_password":{"type":"string"}}}"#;
const ANY: &str = r#"{"type":"object"}"#;
const USER: &str =
    r##"{"type":"object","required":["user"],"properties":{"user":{"$ref":"#/components/schemas/User"}}}"##;
const CALLER: &str = r##"{"type":"object","required":["user","session"],"properties":{"user":{"$ref":"#/components/schemas/User"},"session":{"$ref":"#/components/schemas/Session"},"token":{"type":"string"}}}"##;
const AUTHENTICATED: &str = r##"{"$ref":"#/components/schemas/Authenticated"}"##;
const MFA_REQUIRED: &str = r##"{"$ref":"#/components/schemas/MfaRequired"}"##;
const SESSIONS: &str = r##"{"type":"object","required":["sessions"],"properties":{"sessions":{"type":"array","items":{"$ref":"#/components/schemas/ListedSession"}}}}"##;
const USERS: &str = r##"{"type":"object","required":["users","next"],"properties":{"users":{"type":"array","items":{"$ref":"#/components/schemas/User"}},"next":{"type":["string","null"]}}}"##;
const ACCOUNT: &str = r##"{"type":"object","required":["user","mfa","password_locked_until","known_browsers_locked_until","sessions"],"properties":{"user":{"$ref":"#/components/schemas/User"},"mfa":{},"password_locked_until":{"type":["string","null"],"format":"date-time"},"known_browsers_locked_until":{"type":["string","null"],"format":"date-time"},"sessions":{"type":"array","items":{"$ref":"#/components/schemas/ListedSession"}}}}"##;
const EVENTS: &str = r#"{"type":"object","required":["events","next"],"properties":{"events":{"type":"array","items":{"type":"object","required":["id","at","event","success"],"properties":{"id":{"type":"string"},"at":{"type":"string","format":"date-time"},"event":{"type":"string"},"success":{"type":"boolean"}}}},"next":{"type":["string","null"]}}}"#;

/// One for each row of the host's table.
pub(super) fn routes() -> Vec<Route> {
    let mut all = vec![
        Route::post("/register", Anyone)
            .summary("Makes an account, or, where addresses are proven first, sends the link that makes it")
            .body(CREDENTIALS)
            .answer(201, "The account is made and signed in", AUTHENTICATED)
            .answer(202, "A link is mailed to prove the address", ANY)
            .refuses(&[Forbidden, Conflict, PasswordPolicy, Locked]),
        Route::post("/email/verify", Anyone)
            .summary("Proves an address by the mailed link")
            .body(TOKEN)
            .answer(204, "Proven", "")
            .refuses(&[LinkInvalid, Conflict]),
        Route::post("/email/verify/send", Enrolling)
            .summary("Mails a link that proves the caller's address")
            .body(NOTHING)
            .answer(202, "It will be sent", ANY)
            .refuses(&[Conflict, RateLimited]),
        Route::post("/login", Anyone)
            .summary("Signs in by a password")
            .body(CREDENTIALS)
            .answer(200, "Signed in", AUTHENTICATED)
            .answer(202, "A second factor is needed", MFA_REQUIRED)
            .refuses(&[InvalidCredentials, Locked]),
        Route::post("/logout", Anyone).summary("Ends the session, of any type").answer(204, "Ended", ""),
        Route::get("/session", Anyone)
            .summary("Who is signed in, and how far")
            .answer(200, "The user and the session", CALLER)
            .refuses(&[SessionRequired]),
        Route::get("/me", Session).summary("Who is signed in").answer(200, "The user", USER),
        Route::get("/verify", Session)
            .summary("Forward-auth for reverse proxies: says in Remote-User, Remote-Role and Remote-Email who it is")
            .parameter("next", "Where a browser goes after it has signed in: a path, or an https URL of an allowed host")
            .answer(200, "Let it through", "")
            .answer(302, "To a browser: to the page that helps it on", ""),
        Route::get("/sessions", Enrolling).summary("The caller's sessions").answer(200, "A list", SESSIONS),
        Route::delete("/sessions", Enrolling).summary("Ends all other sessions").answer(204, "Ended", ""),
        Route::delete("/sessions/{id}", Enrolling)
            .summary("Ends a session")
            .answer(204, "Ended", "")
            .refuses(&[NotFound]),
        Route::post("/reauthenticate", Enrolling)
            .summary("Proves the password anew: the first-factor half of a step-up")
            .body(PASSWORD)
            .answer(200, "Proven", CALLER)
            .refuses(&[InvalidCredentials, Locked]),
        Route::post("/password/change", Enrolling)
            .summary("Changes the password, and ends everything else that is open")
            .body(CHANGE)
            .answer(204, "Changed", "")
            .refuses(&[StepUpRequired, InvalidCredentials, PasswordPolicy, Locked]),
        Route::post("/password/reset", Anyone)
            .summary("Mails a link that sets a new password; the same for every address")
            .body(EMAIL)
            .answer(202, "It will be sent, if the address has an account", ANY),
        Route::post("/password/reset/confirm", Anyone)
            .summary("Sets a new password by a mailed link; signs nobody in")
            .body(CONFIRM)
            .answer(204, "Set", "")
            .refuses(&[LinkInvalid, PasswordPolicy]),
    ];
    let by_administrators = [
        Route::get("/admin/users", Anyone)
            .summary("Accounts, page by page")
            .parameter("query", "What their address contains")
            .parameter("after", "`next` of the page before")
            .answer(200, "A page", USERS),
        Route::get("/admin/users/{id}", Anyone).summary("An account: factors, locks, sessions").answer(
            200,
            "The account",
            ACCOUNT,
        ),
        Route::post("/admin/users/{id}/mfa/reset", Anyone)
            .summary("Removes all second factors of an account")
            .body(NOTHING)
            .answer(204, "Removed", ""),
        Route::post("/admin/users/{id}/unlock", Anyone)
            .summary("Lifts an account's locks")
            .body(NOTHING)
            .answer(204, "Lifted", ""),
        Route::delete("/admin/users/{id}/sessions", Anyone)
            .summary("Ends an account's sessions")
            .answer(204, "Ended", ""),
        Route::get("/admin/audit", Anyone)
            .summary("What happened, page by page")
            .parameter("after", "`next` of the page before, or an event's `id`")
            .parameter("account", "Whom it concerns: an id or an address")
            .answer(200, "A page", EVENTS),
    ];
    let refused = [SessionRequired, MfaRequired, EnrollmentRequired, StepUpRequired, Forbidden, NotFound];
    all.extend(by_administrators.into_iter().map(|route| route.refuses(&refused)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::ROUTES;

    #[test]
    fn they_are_the_rows_of_the_table() {
        let said: Vec<(String, String)> =
            routes().into_iter().map(|route| (route.method.into(), route.path.into())).collect();
        let rows: Vec<(String, String)> =
            ROUTES.iter().map(|row| (row.method.to_owned(), row.path.to_owned())).collect();
        assert_eq!(said, rows);
    }
}
