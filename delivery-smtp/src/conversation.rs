//! What is said to a relay, step by step (RFC 5321), and what its replies mean.
use crate::mail::{Mail, is_ascii};
use countersign_plugin_api::{Secret, Undelivered};
use lettre::transport::smtp::{
    Error,
    authentication::{Credentials, Mechanism},
    client::{AsyncSmtpConnection, AsyncTokioStream},
    commands::{Data, Mail as MailFrom, Rcpt},
    extension::{ClientId, Extension, MailBodyParameter, MailParameter},
    response::{Response, Severity},
};
use std::{cell::Cell, error, io};

/// A name and a password for the relay.
pub(crate) struct Account {
    pub(crate) username: String,
    pub(crate) password: Secret<String>,
}

/// Why a conversation did not end with a message taken.
pub(crate) enum Failure {
    /// The relay said no, and listens still.
    Refused(Undelivered),
    /// There is nothing more to say.
    Broken(Undelivered),
}

/// Hears the greeting, says EHLO, and who we are. What the relay refuses here it refuses to us and not to a message,
/// and an operator can mend it: so it is never final.
pub(crate) async fn begin(
    stream: Box<dyn AsyncTokioStream>,
    hello: &ClientId,
    account: Option<&Account>,
) -> Result<AsyncSmtpConnection, Undelivered> {
    let connected = AsyncSmtpConnection::connect_with_transport(stream, hello).await;
    let mut connection = connected.map_err(|error| Undelivered::Later(sentence("EHLO", &error)))?;
    if let Some(Account { username, password }) = account {
        let credentials = Credentials::new(username.clone(), password.expose().clone());
        let proven = connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await;
        proven.map_err(|error| {
            Undelivered::Later(if error.is_client() {
                "AUTH: it offers neither PLAIN nor LOGIN".into()
            } else {
                sentence("AUTH", &error)
            })
        })?;
    }
    Ok(connection)
}

/// Sends one message. From here on, a final no is one to this message. `handed_over` is set when the relay is about to
/// have all of it: whatever ends the conversation after that, the message may have been taken.
pub(crate) async fn send(
    connection: &mut AsyncSmtpConnection,
    mail: &Mail,
    handed_over: &Cell<bool>,
) -> Result<(), Failure> {
    let mut parameters = Vec::new();
    if !is_ascii(&mail.to) {
        let offers = |extension| connection.server_info().supports_feature(extension);
        if !offers(Extension::SmtpUtfEight) || !offers(Extension::EightBitMime) {
            return Err(Failure::Refused(Undelivered::Never("it takes no addresses beyond ASCII".into())));
        }
        parameters = vec![MailParameter::SmtpUtfEight, MailParameter::Body(MailBodyParameter::EightBitMime)];
    }
    let from = MailFrom::new(Some(mail.from.clone()), parameters);
    agreed("MAIL", Severity::PositiveCompletion, connection.command(from).await)?;
    let to = Rcpt::new(mail.to.clone(), Vec::new());
    agreed("RCPT", Severity::PositiveCompletion, connection.command(to).await)?;
    agreed("DATA", Severity::PositiveIntermediate, connection.command(Data).await)?;
    handed_over.set(true);
    let taken = connection.message(mail.bytes.expose()).await;
    let agreed = agreed("the message", Severity::PositiveCompletion, taken);
    agreed.map_err(|failure| match failure {
        Failure::Broken(Undelivered::Later(why)) => Failure::Broken(Undelivered::Unknown(why)),
        answered => answered,
    })
}

/// A yes of another kind than the step asks for is a reply to something else: the two sides are out of step, and
/// nothing after it means anything.
fn agreed(step: &str, yes: Severity, reply: Result<Response, Error>) -> Result<(), Failure> {
    match reply {
        Ok(reply) if reply.code().severity == yes => Ok(()),
        Ok(reply) => {
            let why = format!("{step}: it answers {}, which is no answer to it", reply.code());
            Err(Failure::Broken(Undelivered::Later(why)))
        }
        Err(error) if error.is_permanent() => {
            Err(Failure::Refused(Undelivered::Never(sentence(step, &error))))
        }
        Err(error) if error.is_transient() => {
            Err(Failure::Refused(Undelivered::Later(sentence(step, &error))))
        }
        Err(error) => Err(Failure::Broken(Undelivered::Later(sentence(step, &error)))),
    }
}

/// The step and the reply's codes, never its text: that may repeat the message or the password.
fn sentence(step: &str, error: &Error) -> String {
    let source = error::Error::source(error);
    if let Some(code) = error.status() {
        let text = source.map(ToString::to_string).unwrap_or_default();
        return match enhanced(&text) {
            Some(more) => format!("{step}: it answers {code} {more}"),
            None => format!("{step}: it answers {code}"),
        };
    }
    match source.and_then(|source| source.downcast_ref::<io::Error>()) {
        Some(error) => format!("{step}: {}", error.kind()),
        None => format!("{step}: it hangs up or answers nonsense"),
    }
}

/// The enhanced status code that a reply's text may start with (RFC 3463).
fn enhanced(text: &str) -> Option<&str> {
    let word = text.split_whitespace().next()?;
    let is_number =
        |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = word.split('.');
    let class = parts.next().filter(|class| matches!(*class, "2" | "4" | "5"));
    let rest: Vec<&str> = parts.collect();
    (class.is_some() && rest.len() == 2 && rest.into_iter().all(is_number)).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_replys_text_only_a_status_code_is_told() {
        assert_eq!(enhanced("5.1.1 no such user"), Some("5.1.1"));
        assert_eq!(enhanced("4.7.112"), Some("4.7.112"));
        for other in
            ["", "123456", "5.123456.1", "5.1", "5.1.1.1", "3.1.1", "5.1.x", "hunter2", "5.1.1:hunter2"]
        {
            assert_eq!(enhanced(other), None, "{other}");
        }
    }
}
