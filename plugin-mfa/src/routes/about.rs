//! What the interface's description says about each route.
use countersign_plugin_api::{
    Content,
    Problem::{
        ChallengeInvalid, Conflict, DeliveryUnavailable, EnrollmentRequired, Forbidden, InvalidCode,
        LinkInvalid, Locked, MfaRequired, NotFound, RateLimited, SessionRequired, StepUpRequired,
    },
    Route,
};

const AUTHENTICATED: &str = r##"{"$ref":"#/components/schemas/Authenticated"}"##;
const MFA_REQUIRED: &str = r##"{"$ref":"#/components/schemas/MfaRequired"}"##;
const NOTHING: &str = r#"{"type":"object"}"#;

macro_rules! factor {
    () => {
        r##"{"type":"object","required":["id","kind","label","created_at","last_used_at"],"properties":{
"id":{"type":"string"},"kind":{"type":"string","examples":["totp"]},"label":{"type":"string"},
"created_at":{"$ref":"#/components/schemas/Time"},"last_used_at":{"type":["string","null"],"format":"date-time"}}}"##
    };
}
macro_rules! codes {
    () => {
        r#"{"type":"array","items":{"type":"string"},"description":"Shown this once"}"#
    };
}
macro_rules! code {
    () => {
        r#"{"type":"string","pattern":"^[0-9]{6}$","examples":["000000"]}"#
    };
}
macro_rules! challenge {
    () => {
        r#"{"type":["string","null"],"description":"The handle that the login answered; without it, that of the pending session"}"#
    };
}
macro_rules! trust {
    () => {
        r#"{"type":"boolean","description":"Whether this browser is to be trusted from now on"}"#
    };
}

const STATUS: &str = concat!(
    r##"{"type":"object","required":["enabled","required","factors","recovery_codes_remaining","recovery_codes_low"],"properties":{
"enabled":{"type":"boolean"},"required":{"type":"boolean","description":"Whether policy wants a factor"},
"grace_until":{"$ref":"#/components/schemas/Time"},"recovery_codes_remaining":{"type":"integer"},"recovery_codes_low":{"type":"boolean"},
"factors":{"type":"array","items":"##,
    factor!(),
    "}}}"
);
const ENROLL: &str = r#"{"type":"object","properties":{
"label":{"type":["string","null"],"minLength":1,"maxLength":64,"description":"What the factor is called","examples":["phone"]}}}"#;
const ENROLLED: &str = r##"{"type":"object","required":["enrollment","secret","otpauth_uri","qr_svg","expires_at"],"properties":{
"enrollment":{"type":"string","description":"What goes into `totp/verify`, with the first code"},
"secret":{"type":"string","description":"The key in Base32"},"otpauth_uri":{"type":"string","description":"The same for an app"},
"qr_svg":{"type":"string","description":"The same to be scanned"},"expires_at":{"$ref":"#/components/schemas/Time"}}}"##;
const TOTP: &str = concat!(
    r#"{"type":"object","required":["code"],"properties":{"code":"#,
    code!(),
    r#","enrollment":{"type":["string","null"],"description":"The factor that the code activates; not with `challenge`"},"challenge":"#,
    challenge!(),
    r#","trust_browser":"#,
    trust!(),
    "}}"
);
const ACTIVATED: &str = concat!(
    r##"{"anyOf":[{"$ref":"#/components/schemas/Authenticated"},{"type":"object","required":["status","factor"],"properties":{
"status":{"const":"activated"},"factor":"##,
    factor!(),
    r#","recovery_codes":"#,
    codes!(),
    "}}]}"
);
const DISABLE: &str = r#"{"type":"object","properties":{
"factor":{"type":["string","null"],"description":"Its id; without it, every app's"}}}"#;
const MAILED: &str = concat!(
    r#"{"type":"object","required":["code"],"properties":{"code":"#,
    code!(),
    r#","challenge":"#,
    challenge!(),
    r#","trust_browser":"#,
    trust!(),
    "}}"
);
const RECOVERY: &str = concat!(
    r#"{"type":"object","required":["code"],"properties":{"code":{"type":"string","examples":["0000-0000-0000-0000"]},"challenge":"#,
    challenge!(),
    "}}"
);
const RECOVERED: &str = r##"{"allOf":[{"$ref":"#/components/schemas/Authenticated"},
{"type":"object","required":["recovery_codes_remaining"],"properties":{"recovery_codes_remaining":{"type":"integer"}}}]}"##;
const CODES: &str = concat!(
    r#"{"type":"object","required":["recovery_codes"],"properties":{"recovery_codes":"#,
    codes!(),
    "}}"
);
const CHALLENGE: &str = concat!(r#"{"type":"object","properties":{"challenge":"#, challenge!(), "}}");
const SENT: &str = r##"{"type":"object","required":["expires_at","resend_after"],"properties":{
"expires_at":{"$ref":"#/components/schemas/Time"},
"resend_after":{"type":"integer","minimum":0,"description":"Seconds until another may be asked for"}}}"##;
const EMAIL: &str = r##"{"type":"object","required":["email"],"properties":{"email":{"$ref":"#/components/schemas/Email"}}}"##;
const ACCEPTED: &str =
    r#"{"type":"object","required":["status"],"properties":{"status":{"const":"accepted"}}}"#;
const LINK: &str = r##"{"type":"object","required":["token"],"properties":{
"token":{"$ref":"#/components/schemas/Token"},"session":{"$ref":"#/components/schemas/Mode"}}}"##;
const PENDING: &str = r##"{"type":"object","required":["status","methods","expires_at","attempts_left"],"properties":{
"status":{"enum":["pending","completed","expired","locked"]},"methods":{"type":"array","items":{"type":"string"}},
"expires_at":{"$ref":"#/components/schemas/Time"},"attempts_left":{"type":"integer","minimum":0}}}"##;
const BROWSERS: &str = r##"{"type":"object","required":["trusted_browsers"],"properties":{"trusted_browsers":{"type":"array","items":{"type":"object",
"required":["id","label","created_at","last_used_at","expires_at","current"],"properties":{"id":{"type":"string"},"label":{"type":"string"},
"created_at":{"$ref":"#/components/schemas/Time"},"last_used_at":{"$ref":"#/components/schemas/Time"},
"expires_at":{"$ref":"#/components/schemas/Time"},"current":{"type":"boolean","description":"Whether it is the one that asks"}}}}}}"##;
const PASSWORD: &str = r##"{"type":"object","required":["password"],"properties":{"password":{"$ref":"#/components/schemas/Password"}}}"##;
const VERDICT: &str = r#"{"type":"object","required":["valid","violations"],"properties":{
"valid":{"type":"boolean"},"violations":{"type":"array","items":{"type":"string"},"examples":[["too-short"]]}}}"#;

const SESSION: &str = "In cookie mode: the session's new token, and what makes this browser known";
const FORGOTTEN: &str = "Removes the cookie of this browser, if it was trusted";

/// The route with what is said about it.
#[expect(clippy::too_many_lines, reason = "a table, a row for each route")]
pub(super) fn described(route: Route) -> Route {
    match (&*route.method, &*route.path) {
        ("GET", "/status") => {
            route.summary("What the account has").answer(200, "Its factors and codes", STATUS)
        }
        ("POST", "/totp/enroll") => route
            .summary("Begins to set an authenticator app up")
            .body(ENROLL)
            .answer(201, "The key, to be scanned or typed", ENROLLED)
            .refuses(&[StepUpRequired, Conflict]),
        ("POST", "/totp/verify") => route
            .summary("Activates a factor, completes a login, or steps up, by a code of an app")
            .body(TOTP)
            .answer(200, "The factor is active, or the code was right", ACTIVATED)
            .header(200, "Set-Cookie", SESSION)
            .refuses(&[InvalidCode, ChallengeInvalid, SessionRequired, MfaRequired, Locked]),
        ("POST", "/totp/disable") => route
            .summary("Removes one TOTP factor, or all")
            .body(DISABLE)
            .empty("Removed")
            .refuses(&[StepUpRequired, EnrollmentRequired, NotFound]),
        ("POST", "/recovery/generate") => route
            .summary("Replaces the recovery codes; wants a fresh code of an app")
            .body(NOTHING)
            .answer(200, "The new codes", CODES)
            .refuses(&[StepUpRequired, Conflict]),
        ("POST", "/recovery/verify") => route
            .summary("Completes a login, or steps up, by a recovery code")
            .body(RECOVERY)
            .answer(200, "The code was right, and is spent", RECOVERED)
            .header(200, "Set-Cookie", SESSION)
            .refuses(&[InvalidCode, ChallengeInvalid, SessionRequired, Locked]),
        ("POST", "/otp/send") => route
            .summary("Mails a code for a login that waits")
            .body(CHALLENGE)
            .answer(202, "It will be sent", SENT)
            .refuses(&[
                ChallengeInvalid,
                SessionRequired,
                Forbidden,
                Locked,
                RateLimited,
                DeliveryUnavailable,
            ]),
        ("POST", "/otp/verify") => route
            .summary("Completes a login by a mailed code")
            .body(MAILED)
            .answer(200, "The code was right", AUTHENTICATED)
            .header(200, "Set-Cookie", SESSION)
            .refuses(&[InvalidCode, ChallengeInvalid, SessionRequired, Forbidden, Locked]),
        ("POST", "/magic-link/send") => route
            .summary("Mails a link that signs in")
            .body(EMAIL)
            .answer(202, "For every address: it will be sent, if there is an account", ACCEPTED)
            .header(202, "Set-Cookie", "By which the browser that asked is known again")
            .refuses(&[NotFound, DeliveryUnavailable]),
        ("GET", "/magic-link/verify") => route
            .summary("The page that a mailed link opens; consumes nothing")
            .parameter("token", "From the mailed link")
            .page(200, "A page with a button")
            .page(401, "A page: the link is not valid")
            .refuses(&[NotFound]),
        ("POST", "/magic-link/verify") => route
            .summary("Signs in by a mailed link")
            .body(LINK)
            .answer(200, "Signed in", AUTHENTICATED)
            .page(
                200,
                "To the page's form, in another browser than the one that asked: a page that asks once more",
            )
            .header(200, "Set-Cookie", SESSION)
            .answer(202, "A second factor is needed", MFA_REQUIRED)
            .header(202, "Set-Cookie", "In cookie mode: the session that waits for it")
            .response(303, "To the page's form: either of the two", Content::Nothing)
            .header(303, "Set-Cookie", SESSION)
            .header(303, "Location", "The page that is next")
            .page(401, "To the page's form: a page, the link is not valid")
            .refuses(&[LinkInvalid, Locked, NotFound]),
        ("GET", "/challenge/status") => route
            .summary("How a login that waits stands")
            .parameter(
                "challenge",
                "The handle that the login answered; without it, that of the pending session",
            )
            .answer(200, "Its state", PENDING)
            .refuses(&[ChallengeInvalid, SessionRequired]),
        ("POST", "/challenge/cancel") => route
            .summary("Ends a login that waits")
            .body(CHALLENGE)
            .empty("Ended")
            .header(204, "Set-Cookie", "Removes the session's cookie, when it was the one that asked")
            .refuses(&[ChallengeInvalid, SessionRequired]),
        ("GET", "/trusted-browsers") => {
            route.summary("The browsers that are trusted").answer(200, "All of them", BROWSERS)
        }
        ("DELETE", "/trusted-browsers") => {
            route.summary("Trusts no browser any more").empty("Done").header(204, "Set-Cookie", FORGOTTEN)
        }
        ("DELETE", "/trusted-browsers/{id}") => route
            .summary("Trusts a browser no more")
            .empty("Done")
            .header(204, "Set-Cookie", FORGOTTEN)
            .refuses(&[NotFound]),
        ("POST", "/password/validate") => route
            .summary("Holds a password against the policy")
            .body(PASSWORD)
            .answer(200, "Whether it meets it", VERDICT),
        _ => route,
    }
}

#[cfg(test)]
mod tests {
    use countersign_plugin_api::Content;

    #[test]
    fn every_route_says_what_it_does_and_answers() {
        for (route, _) in super::super::routes() {
            assert!(!route.about.summary.is_empty() && !route.about.answers.is_empty(), "{}", route.path);
            assert_eq!(route.method == "POST", !route.about.body.is_empty(), "{}", route.path);
            let schema = |text: &str| serde_json::from_str::<serde_json::Value>(text).is_ok();
            assert!(route.about.body.is_empty() || schema(&route.about.body), "{}", route.path);
            for answer in &route.about.answers {
                assert!(!matches!(&answer.content, Content::Json(text) if !schema(text)), "{}", route.path);
            }
        }
    }
}
