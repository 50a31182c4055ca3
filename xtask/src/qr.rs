//! QR codes in a terminal.
use anyhow::{Context, Result};
use qrcode::{QrCode, render::unicode::Dense1x2};
use serde_json::Value;
use std::io::stdin;

/// A text as a QR code for a dark terminal: what is light is drawn, its margin included.
pub fn drawn(text: &str) -> Result<String> {
    let code = QrCode::new(text).context("too long for a QR code")?;
    Ok(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}

/// What a person needs of an enrolment: the code to scan, the secret to type, and the id to confirm it by.
pub fn enrolment(answer: &Value) -> Result<String> {
    let field = |name: &str| {
        answer[name].as_str().with_context(|| format!("not the answer of an enrolment: it has no `{name}`"))
    };
    let (uri, secret, id) = (field("otpauth_uri")?, field("secret")?, field("enrollment")?);
    Ok(format!("{}\nsecret      {secret}\nenrollment  {id}\n", drawn(uri)?))
}

/// Draws the enrolment on standard input.
pub fn from_stdin() -> Result<()> {
    let answer: Value = serde_json::from_reader(stdin().lock()).context("standard input is not JSON")?;
    match enrolment(&answer) {
        Ok(shown) => print!("{shown}"),
        // A refusal says more than that it is no enrolment.
        Err(error) => anyhow::bail!("{error}\n{answer:#}"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_enrolment_is_drawn_with_what_must_be_typed() {
        let answer =
            json!({"otpauth_uri": "otpauth://totp/A:b?secret=ABC", "secret": "ABC", "enrollment": "e1"});
        let shown = enrolment(&answer).expect("an enrolment");
        assert!(shown.contains('█') && shown.contains("ABC") && shown.ends_with("e1\n"), "{shown}");
    }

    #[test]
    fn a_refusal_is_not_an_enrolment() {
        let error = enrolment(&json!({"type": "urn:countersign:problem:step-up-required"})).unwrap_err();
        assert!(error.to_string().contains("otpauth_uri"), "{error}");
    }
}
