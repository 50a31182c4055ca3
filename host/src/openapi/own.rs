//! What is said about the host's own routes, in the form that plugins say it in.
use countersign_plugin_api::{
    Access::{Anyone, Enrolling, Session},
    Content,
    Problem::{
        Conflict, DeliveryUnavailable, EnrollmentRequired, Forbidden, InvalidCredentials, LinkInvalid,
        Locked, NotFound, PasswordPolicy, RateLimited, SessionRequired, StepUpRequired,
    },
    Route,
};

/// One of `schemas.json`.
macro_rules! schema {
    ($name:literal) => {
        concat!(r##"{"$ref":"#/components/schemas/"##, $name, r#""}"#)
    };
}

const NOTHING: &str = r#"{"type":"object"}"#;
const EMAIL: &str =
    concat!(r#"{"type":"object","required":["email"],"properties":{"email":"#, schema!("Email"), "}}");
const PASSWORD: &str = concat!(
    r#"{"type":"object","required":["password"],"properties":{"password":"#,
    schema!("Password"),
    "}}"
);
const STATUS: &str =
    r#"{"type":"object","required":["status"],"properties":{"status":{"enum":["ok","ready"]}}}"#;

const COOKIE: &str = "In cookie mode: the session's, and one by which this browser is known again";
const OVER: &str = "Removes the session's cookie, when it was the one that asked";
const LOCATION: &str =
    "The page that helps a browser on, which leads back to `next`; absent when there are no pages";

/// One for each row of the host's table.
pub(super) fn routes() -> Vec<Route> {
    let mut all = Vec::from(accounts());
    all.extend(sessions());
    all.extend(passwords());
    all.extend(administration());
    all
}

fn accounts() -> [Route; 5] {
    [
        Route::post("/register", Anyone)
            .summary("Makes an account, or, where addresses are proven first, sends the link that makes it")
            .body(schema!("Credentials"))
            .answer(201, "The account is made and signed in", schema!("Authenticated"))
            .header(201, "Set-Cookie", COOKIE)
            .answer(202, "For every address: a link is mailed to prove it", schema!("Registered"))
            .header(202, "Set-Cookie", "In cookie mode: by which the browser that signed up is known again")
            .refuses(&[Forbidden, Conflict, PasswordPolicy, Locked, DeliveryUnavailable]),
        Route::get("/email/verify", Anyone)
            .summary("What a mailed link is for; uses nothing up")
            .parameter("token", "From the mailed link")
            .answer(200, "Its purpose, and what a browser must say with it", schema!("MailedLink"))
            .refuses(&[LinkInvalid]),
        Route::post("/email/verify", Anyone)
            .summary("Proves an address by the mailed link; signs nobody in")
            .body(schema!("EmailProof"))
            .empty("Proven")
            .refuses(&[LinkInvalid, InvalidCredentials, Forbidden, PasswordPolicy, Locked]),
        Route::post("/email/verify/send", Enrolling)
            .summary("Mails a link that proves the caller's address")
            .body(NOTHING)
            .answer(202, "It will be sent", NOTHING)
            .refuses(&[Conflict, RateLimited, DeliveryUnavailable]),
        Route::post("/login", Anyone)
            .summary("Signs in by a password")
            .body(schema!("Credentials"))
            .answer(200, "Signed in", schema!("Authenticated"))
            .header(200, "Set-Cookie", COOKIE)
            .answer(202, "A second factor is needed", schema!("MfaRequired"))
            .header(202, "Set-Cookie", "In cookie mode: the session that waits for it")
            .refuses(&[InvalidCredentials, Locked]),
    ]
}

fn sessions() -> [Route; 7] {
    [
        Route::post("/logout", Anyone)
            .summary("Ends the session, of any type")
            .empty("Ended, if there was one")
            .header(204, "Set-Cookie", "Removes the session's cookie"),
        Route::get("/session", Anyone)
            .summary("Who is signed in, and how far")
            .answer(200, "The user and the session, of any type", schema!("SignedIn"))
            .refuses(&[SessionRequired]),
        Route::get("/me", Session).summary("Who is signed in").answer(
            200,
            "The user",
            schema!("WhoIsSignedIn"),
        ),
        Route::get("/verify", Session)
            .summary("Forward-auth: a reverse proxy asks whether to let a request through")
            .parameter(
                "next",
                "Where a browser goes once it is signed in: a path, or an https URL of an allowed host",
            )
            .response(200, "Let it through", Content::Nothing)
            .header(200, "Remote-User", "The user's id")
            .header(200, "Remote-Role", "The user's role")
            .header(200, "Remote-Email", "The user's address, if it is proven")
            .response(302, "The same as 401 and 403, to whoever sends `Accept: text/html`", Content::Nothing)
            .header(302, "Location", "The page that helps on, which leads back to `next`")
            .header(401, "Location", LOCATION)
            .header(403, "Location", LOCATION),
        Route::get("/sessions", Enrolling).summary("The caller's sessions").answer(
            200,
            "All of them",
            schema!("Sessions"),
        ),
        Route::delete("/sessions", Enrolling).summary("Ends all other sessions").empty("Ended"),
        Route::delete("/sessions/{id}", Enrolling)
            .summary("Ends a session")
            .empty("Ended")
            .header(204, "Set-Cookie", OVER)
            .refuses(&[NotFound]),
    ]
}

fn passwords() -> [Route; 4] {
    [
        Route::post("/reauthenticate", Enrolling)
            .summary("Proves the password anew: the first-factor half of a step-up")
            .body(PASSWORD)
            .answer(200, "Proven", schema!("SignedIn"))
            .refuses(&[InvalidCredentials, Locked]),
        Route::post("/password/change", Enrolling)
            .summary("Changes the password, and ends everything else that is open")
            .body(schema!("PasswordChange"))
            .empty("Changed")
            .refuses(&[StepUpRequired, InvalidCredentials, PasswordPolicy, Locked]),
        Route::post("/password/reset", Anyone)
            .summary("Mails a link that sets a new password")
            .body(EMAIL)
            .answer(202, "For every address: it will be sent, if there is an account", NOTHING)
            .refuses(&[DeliveryUnavailable]),
        Route::post("/password/reset/confirm", Anyone)
            .summary("Sets a new password by the mailed link; signs nobody in")
            .body(schema!("NewPassword"))
            .empty("Set")
            .refuses(&[LinkInvalid, PasswordPolicy]),
    ]
}

/// Every one of them wants the role `admin` and a second factor proven just now.
fn administration() -> impl Iterator<Item = Route> {
    let all = [
        Route::get("/admin/users", Enrolling)
            .summary("Accounts, page by page")
            .parameter("query", "What their address contains")
            .parameter("after", "`next` of the page before")
            .answer(200, "A page", schema!("Accounts")),
        Route::get("/admin/users/{id}", Enrolling)
            .summary("An account: factors, locks, sessions")
            .answer(200, "All of it but its secrets", schema!("AccountInFull"))
            .refuses(&[NotFound]),
        Route::post("/admin/users/{id}/mfa/reset", Enrolling)
            .summary("Removes all second factors of an account, and ends what it has open")
            .body(NOTHING)
            .empty("Removed")
            .refuses(&[NotFound]),
        Route::post("/admin/users/{id}/unlock", Enrolling)
            .summary("Lifts an account's locks")
            .body(NOTHING)
            .empty("Lifted")
            .refuses(&[NotFound]),
        Route::delete("/admin/users/{id}/sessions", Enrolling)
            .summary("Ends an account's sessions")
            .empty("Ended")
            .header(204, "Set-Cookie", OVER)
            .refuses(&[NotFound]),
        Route::get("/admin/audit", Enrolling)
            .summary("What happened, page by page, oldest first")
            .parameter("after", "`next` of the page before, or an event's `id`")
            .parameter("account", "Whom it concerns: an id or an address")
            .answer(200, "A page", schema!("Events"))
            .refuses(&[NotFound]),
    ];
    all.into_iter().map(|route| route.refuses(&[Forbidden, StepUpRequired, EnrollmentRequired]))
}

/// What stands beside the API.
pub(super) fn beside() -> [Route; 3] {
    [
        Route::get("/healthz", Anyone).summary("Whether it is alive").answer(200, "It is", STATUS),
        Route::get("/readyz", Anyone)
            .summary("Whether the store and the plugins answer")
            .answer(200, "They do", STATUS),
        Route::get("/openapi.json", Anyone).summary("This description").answer(
            200,
            "An OpenAPI document",
            NOTHING,
        ),
    ]
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
