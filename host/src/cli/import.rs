//! `mfa import`: factors of another system, one a line.
use super::{Failure, Report, host::Reach, progress::Progress};
use crate::{accounts::Email, control::Operation, http::decode};
use countersign_plugin_api::Secret;
use serde_json::{Value, json};
use std::{
    fs,
    io::{self, Read},
    path::Path,
};
use zeroize::Zeroizing;

#[cfg(any(fuzzing, test))]
pub(super) mod fuzzing;

const SCHEME: &str = "otpauth://";
/// Refusals that the next line would meet too.
const HOPELESS: [&str; 4] = ["store-unavailable", "plugin-fault", "busy", "delivery-unavailable"];

pub(super) fn run(reach: &mut Reach<'_>, file: &Path, quiet: bool, json: bool) -> Result<Report, Failure> {
    let shown = file.display();
    let text = read(file).map_err(|error| Failure::usage(format_args!("{shown}: {error}")))?;
    let wanted = |line: &&str| !line.is_empty() && !line.starts_with('#');
    let lines = (1..).zip(text.lines().map(str::trim)).filter(|(_, line)| wanted(line));
    let (all, progress) = (lines.clone().count(), Progress::new(json));
    let (mut imported, mut present, mut failed) = (0_usize, 0_usize, Vec::<Value>::new());
    for (number, line) in lines {
        let outcome = match account_and_uri(line) {
            Err(reason) => Err(reason),
            Ok((user, uri)) => {
                let uri = Secret::new(uri.to_owned());
                match reach.ask(Operation::MfaImport { user, uri, quiet })? {
                    Ok(done) => Ok(done["added"] == true),
                    Err(refused) if HOPELESS.contains(&refused.problem.as_str()) => {
                        let why =
                            format!("{shown}:{number}: {}; imported so far: {imported}", refused.message);
                        return Err(Failure::new(why));
                    }
                    Err(refused) => Err(refused.message),
                }
            }
        };
        match outcome {
            Ok(true) => imported += 1,
            Ok(false) => present += 1,
            Err(reason) => failed.push(json!({ "line": number, "reason": reason })),
        }
        progress.show(format_args!("{} of {all} lines", imported + present + failed.len()));
    }
    let said = failed
        .iter()
        .map(|failure| format!("{shown}:{}: {}", failure["line"], super::user::text(failure, "reason")));
    let sum = format!("imported {imported}, already there {present}, failed {}", failed.len());
    let text: Vec<String> = said.chain([sum]).collect();
    let mut report =
        Report::new(text.join("\n"), json!({ "imported": imported, "present": present, "failed": failed }));
    report.failed = !failed.is_empty();
    Ok(report)
}

fn read(file: &Path) -> io::Result<Zeroizing<String>> {
    if file != Path::new("-") {
        return fs::read_to_string(file).map(Zeroizing::new);
    }
    let mut text = Zeroizing::new(String::new());
    io::stdin().lock().read_to_string(&mut text)?;
    Ok(text)
}

/// `EMAIL URI`, or a URI whose label names the account: `otpauth://totp/Issuer:account?…`. The reason never
/// repeats the line, which holds a secret.
fn account_and_uri(line: &str) -> Result<(String, &str), String> {
    if let Some((user, uri)) = line.split_once(char::is_whitespace)
        && !is_uri(user)
    {
        let uri = uri.trim_start();
        return match (Email::parse(user), is_uri(uri)) {
            (Ok(email), true) => Ok((email.shown, uri)),
            (Err(_), _) => Err("it starts neither with an e-mail address nor with otpauth://".into()),
            (_, false) => Err("no otpauth:// follows the e-mail address".into()),
        };
    }
    if !is_uri(line) {
        return Err("it is neither an otpauth URI nor an e-mail address and one".into());
    }
    // In a path a plus sign is one, and no space as in a query.
    let path = line[SCHEME.len()..].split('?').next().unwrap_or_default().replace('+', "%2B");
    let label = path.split_once('/').and_then(|(_, label)| decode(label)).unwrap_or_default();
    let account = label.rsplit(':').next().unwrap_or_default();
    match Email::parse(account) {
        Ok(email) => Ok((email.shown, line)),
        Err(_) => Err("its label names no e-mail address: write the account's before the URI".into()),
    }
}

fn is_uri(text: &str) -> bool {
    text.get(..SCHEME.len()).is_some_and(|start| start.eq_ignore_ascii_case(SCHEME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_its_account_before_the_uri_or_in_it() {
        let uri = "otpauth://totp/Acme:x?secret=JBSWY3DPEHPK3PXP";
        for (line, account) in [
            (format!("ann@example.org {uri}"), Some("ann@example.org")),
            (format!("ann@example.org\t  {uri}"), Some("ann@example.org")),
            ("otpauth://totp/Acme:ann@example.org?secret=A".into(), Some("ann@example.org")),
            ("otpauth://totp/Acme%20Inc%3Aann%40example.org?secret=A".into(), Some("ann@example.org")),
            ("otpauth://totp/Acme:%20ann@example.org?secret=A".into(), Some("ann@example.org")),
            ("otpauth://totp/ann+work@example.org?secret=A:b@c".into(), Some("ann+work@example.org")),
            ("OTPAUTH://totp/ann@example.org?issuer=a b".into(), Some("ann@example.org")),
            (uri.into(), None),
            (format!("ann {uri}"), None),
            ("ann@example.org".into(), None),
            ("ann@example.org https://totp/x".into(), None),
            ("otpauth://totp".into(), None),
            ("otpauth://totp/%zz@example.org?secret=A".into(), None),
            ("JBSWY3DPEHPK3PXP".into(), None),
        ] {
            let found = account_and_uri(&line);
            assert_eq!(found.as_ref().ok().map(|(account, _)| account.as_str()), account, "{line}");
            if let Err(reason) = found {
                assert!(!reason.contains("JBSWY3DPEHPK3PXP"), "{reason}");
            }
        }
    }
}
