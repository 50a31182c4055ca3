//! What the interface's description says about each route.
use countersign_plugin_api::{
    Problem::{
        ChallengeInvalid, Conflict, EnrollmentRequired, Forbidden, InvalidCode, LinkInvalid, Locked,
        MfaRequired, NotFound, RateLimited, SessionRequired, StepUpRequired,
    },
    Route,
};

const STATUS: &str = r##"{"type":"object","required":["enabled","required","factors","recovery_codes_remaining","recovery_codes_low"],"properties":{
"enabled":{"type":"boolean"},"required":{"type":"boolean"},"grace_until":{"type":"string","format":"date-time"},
"factors":{"type":"array","items":{"type":"object","required":["id","kind","label","created_at","last_used_at"],"properties":{
"id":{"type":"string"},"kind":{"type":"string"},"label":{"type":"string"},"created_at":{"type":"string","format":"date-time"},
"last_used_at":{"type":["string","null"],"format":"date-time"}}}},
"recovery_codes_remaining":{"type":"integer"},"recovery_codes_low":{"type":"boolean"}}}"##;
const ENROLLED: &str = r#"{"type":"object","required":["enrollment","secret","otpauth_uri","qr_svg","expires_at"],"properties":{
"enrollment":{"type":"string"},"secret":{"type":"string","description":"Base32"},"otpauth_uri":{"type":"string"},
"qr_svg":{"type":"string"},"expires_at":{"type":"string","format":"date-time"}}}"#;
const TOTP: &str = r#"{"type":"object","required":["code"],"properties":{"code":{"type":"string"},"enrollment":{"type":["string","null"]},
"challenge":{"type":["string","null"]},"trust_browser":{"type":"boolean"}}}"#;
const ACTIVATED: &str = r##"{"anyOf":[{"$ref":"#/components/schemas/Authenticated"},{"type":"object","required":["status","factor"],"properties":{
"status":{"const":"activated"},"factor":{"type":"object"},"recovery_codes":{"type":"array","items":{"type":"string"}}}}]}"##;
const MAILED: &str = r#"{"type":"object","required":["code"],"properties":{"code":{"type":"string"},"challenge":{"type":["string","null"]},
"trust_browser":{"type":"boolean"}}}"#;
const RECOVERY: &str = r#"{"type":"object","required":["code"],"properties":{"code":{"type":"string"},"challenge":{"type":["string","null"]}}}"#;
const RECOVERED: &str = r##"{"allOf":[{"$ref":"#/components/schemas/Authenticated"},{"type":"object","required":["recovery_codes_remaining"],
"properties":{"recovery_codes_remaining":{"type":"integer"}}}]}"##;
const AUTHENTICATED: &str = r##"{"$ref":"#/components/schemas/Authenticated"}"##;
const MFA_REQUIRED: &str = r##"{"$ref":"#/components/schemas/MfaRequired"}"##;
const CODES: &str = r#"{"type":"object","required":["recovery_codes"],"properties":{"recovery_codes":{"type":"array","items":{"type":"string"}}}}"#;
const NOTHING: &str = r#"{"type":"object","properties":{}}"#;
const CHALLENGE: &str = r#"{"type":"object","properties":{"challenge":{"type":["string","null"]}}}"#;
const SENT: &str = r#"{"type":"object","required":["expires_at","resend_after"],"properties":{"expires_at":{"type":"string","format":"date-time"},
"resend_after":{"type":"integer","description":"Seconds"}}}"#;
const PENDING: &str = r#"{"type":"object","required":["status","methods","expires_at","attempts_left"],"properties":{
"status":{"enum":["pending","completed","expired","locked"]},"methods":{"type":"array","items":{"type":"string"}},
"expires_at":{"type":"string","format":"date-time"},"attempts_left":{"type":"integer"}}}"#;
const BROWSERS: &str = r#"{"type":"object","required":["trusted_browsers"],"properties":{"trusted_browsers":{"type":"array","items":{"type":"object",
"required":["id","label","created_at","last_used_at","expires_at","current"],"properties":{"id":{"type":"string"},"label":{"type":"string"},
"created_at":{"type":"string","format":"date-time"},"last_used_at":{"type":"string","format":"date-time"},
"expires_at":{"type":"string","format":"date-time"},"current":{"type":"boolean"}}}}}}"#;

/// The route with what is said about it.
pub(super) fn described(route: Route) -> Route {
    match (&*route.method, &*route.path) {
        ("GET", "/status") => route.summary("What the account has").answer(200, "Its factors and codes", STATUS),
        ("POST", "/totp/enroll") => route
            .summary("Begins to set an authenticator app up")
            .body(r#"{"type":"object","properties":{"label":{"type":["string","null"]}}}"#)
            .answer(201, "The key, to be scanned or typed", ENROLLED)
            .refuses(&[StepUpRequired, Conflict]),
        ("POST", "/totp/verify") => route
            .summary("Activates a factor, completes a login, or steps up, by a code of an app")
            .body(TOTP)
            .answer(200, "The factor is active, or the code was right", ACTIVATED)
            .refuses(&[InvalidCode, ChallengeInvalid, SessionRequired, MfaRequired, Locked]),
        ("POST", "/totp/disable") => route
            .summary("Removes one TOTP factor, or all")
            .body(r#"{"type":"object","properties":{"factor":{"type":["string","null"]}}}"#)
            .answer(204, "Removed", "")
            .refuses(&[StepUpRequired, EnrollmentRequired, NotFound]),
        ("POST", "/recovery/generate") => route
            .summary("Replaces the recovery codes")
            .body(NOTHING)
            .answer(200, "The new codes, shown once", CODES)
            .refuses(&[StepUpRequired, Conflict]),
        ("POST", "/recovery/verify") => route
            .summary("Completes a login, or steps up, by a recovery code")
            .body(RECOVERY)
            .answer(200, "The code was right", RECOVERED)
            .refuses(&[InvalidCode, ChallengeInvalid, SessionRequired, Locked]),
        ("POST", "/otp/send") => route
            .summary("Sends a code by mail for a login that waits")
            .body(CHALLENGE)
            .answer(202, "It will be sent", SENT)
            .refuses(&[ChallengeInvalid, SessionRequired, Forbidden, Locked, RateLimited]),
        ("POST", "/otp/verify") => route
            .summary("Completes a login by a code from a mail")
            .body(MAILED)
            .answer(200, "The code was right", AUTHENTICATED)
            .refuses(&[InvalidCode, ChallengeInvalid, SessionRequired, Forbidden, Locked]),
        ("POST", "/magic-link/send") => route
            .summary("Sends a sign-in link; the same for every address")
            .body(r#"{"type":"object","required":["email"],"properties":{"email":{"type":"string"}}}"#)
            .answer(202, "It will be sent, if the address has an account", r#"{"type":"object"}"#)
            .refuses(&[NotFound]),
        ("GET", "/magic-link/verify") => route
            .summary("The page that a sign-in link opens; consumes nothing")
            .parameter("token", "From the mailed link")
            .answer(200, "A page (HTML) with a button", "")
            .answer(401, "A page (HTML): the link is not valid", "")
            .refuses(&[NotFound]),
        ("POST", "/magic-link/verify") => route
            .summary("Signs in by a mailed link")
            .body(r#"{"type":"object","required":["token"],"properties":{"token":{"type":"string"},"session":{"enum":["cookie","bearer"]}}}"#)
            .answer(200, "Signed in", AUTHENTICATED)
            .answer(202, "A second factor is needed", MFA_REQUIRED)
            .answer(303, "The same, to the page's form: on to where it goes from here", "")
            .refuses(&[LinkInvalid, Locked, NotFound]),
        ("GET", "/challenge/status") => route
            .summary("How a login that waits stands")
            .parameter("challenge", "The handle; without it, that of the pending session")
            .answer(200, "Its state", PENDING)
            .refuses(&[ChallengeInvalid, SessionRequired]),
        ("POST", "/challenge/cancel") => route
            .summary("Ends a login that waits")
            .body(CHALLENGE)
            .answer(204, "Ended", "")
            .refuses(&[ChallengeInvalid, SessionRequired]),
        ("GET", "/trusted-browsers") => {
            route.summary("The browsers that are trusted").answer(200, "A list", BROWSERS)
        }
        ("DELETE", "/trusted-browsers") => route.summary("Trusts no browser any more").answer(204, "Done", ""),
        ("DELETE", "/trusted-browsers/{id}") => {
            route.summary("Trusts a browser no more").answer(204, "Done", "").refuses(&[NotFound])
        }
        ("POST", "/password/validate") => route
            .summary("Holds a password against the policy")
            .body(r#"{"type":"object","required":["password"],"properties":{"password":{"type":"string"}}}"#)
            .answer(200, "Whether it meets it", r#"{"type":"object","required":["valid","violations"],"properties":{"valid":{"type":"boolean"},"violations":{"type":"array","items":{"type":"string"}}}}"#),
        _ => route,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_route_says_what_it_does_and_answers() {
        for (route, _) in super::super::routes() {
            assert!(!route.about.summary.is_empty() && !route.about.answers.is_empty(), "{}", route.path);
            assert_eq!(route.method == "POST", !route.about.body.is_empty(), "{}", route.path);
        }
    }
}
