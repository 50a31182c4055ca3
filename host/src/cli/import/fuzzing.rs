use super::{Email, account_and_uri, is_uri};

/// A line of a file of factors: whose it is and what, or a reason that does not repeat the secret.
pub fn import(bytes: &[u8]) {
    let Ok(line) = std::str::from_utf8(bytes) else { return };
    match account_and_uri(line) {
        Ok((account, uri)) => {
            assert!(is_uri(uri) && line.ends_with(uri), "the URI is the end of the line");
            let again = Email::parse(&account).map(|email| email.shown);
            assert_eq!(again.ok(), Some(account), "an address reads as itself");
        }
        Err(reason) => assert!(reason.len() < 100 && reason.is_ascii(), "{reason}"),
    }
}
