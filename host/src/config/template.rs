//! The file that a beginner starts from.
use super::{PublicUrl, Registration};
use std::net::SocketAddr;

/// A whole configuration, with what may be changed as comments. It lacks the `[[plugin]]` entries, which
/// [`edit::pin`](super::edit::pin) adds at its end.
pub fn starter(listen: SocketAddr, public_url: &PublicUrl, registration: Registration) -> String {
    let origin = public_url.origin();
    format!(
        r##"# Countersign. Every value that is not set here has the default that its comment shows.
# Durations are written "30s", "5m", "12h", "30d"; sizes "64 MiB". A secret need not stand in this
# file: {{ env = "NAME" }} or {{ file = "path" }} takes it from elsewhere. Relative paths start from
# the folder of this file. `countersign config check` says what `serve` would refuse.

listen     = "{listen}"
# The only origin that links and redirects may carry. Beyond loopback it is https, spoken by a
# reverse proxy in front of `listen`.
public_url = "{origin}"
# Further Host values that are answered.
#allowed_hosts = ["auth.example.org"]
# Networks of reverse proxies whose forwarded headers are believed.
#trusted_proxies = ["127.0.0.1"]

# Who may make an account: "closed" (an administrator makes them), "verified" (whoever confirms a
# mailed link; needs a [delivery]) or "open" (anybody, with an address that is not proven).
registration = "{registration}"

#data_dir   = "data"
#plugin_dir = "plugins"

#[keys]
#file = "keys.toml"             # mode 0600; made by `countersign keys init`

#[session]
#idle_ttl     = "30m"
#absolute_ttl = "12h"
#cookie_domain = "example.org"  # one sign-in for all subdomains; needs an https public_url

#[audit]
#retention = "90d"

#[password]                     # what a password hash costs; the policy is in [mfa.password]
#argon2 = {{ memory = "19 MiB", iterations = 2, parallelism = 1 }}
#max_concurrent_hashes = 2

#[pages]                        # what people see
#enabled   = true
#name      = "Countersign"
#logo      = "logo.svg"         # .svg, .png or .webp
#accent    = "#0b5f8a"          # made darker or lighter where it could not be read
#templates = "templates"        # a folder with templates and texts of your own

#[metrics]                      # for Prometheus; whoever reaches the address reads them
#listen = "127.0.0.1:9100"

#[log]
#format = "json"                # or "pretty"; absent: pretty on a terminal
#level  = "info"                # or, by part, "info,countersign::http=warn"

[store]
use = "sqlite"                  # or "memory", with the plugin that brings it

[store.sqlite]
path = "data/countersign.db"

# Mail: codes, links and news. It needs a plugin that delivers, such as delivery-smtp; without one the host sends none.
#[delivery]
#use = "smtp"                   # or "log", for development

#[delivery.smtp]
#url      = "smtps://mail.example.org"   # or smtp+starttls://; smtp:// on this machine alone
#from     = "Countersign <no-reply@example.org>"
#username = "countersign"
#password = {{ file = "smtp-password" }}
#timeout         = "30s"         # for one try; also the most
#connect_timeout = "10s"         # likewise
#ca    = "relay-ca.pem"          # trusted instead of the machine's authorities
#hello = "auth.example.org"      # what to be called; absent: the address of the connection

#[mail]
#templates = "mails"            # other languages and wordings: mails/de/email-code.txt, a file each

[mfa]
issuer = "Countersign"          # the name that an authenticator app shows
#challenge_ttl  = "5m"          # how long a login waits for its second factor
#step_up_window = "5m"          # how fresh a proof must be to change credentials
#require        = "opt-in"      # who must have a second factor: "opt-in", "all", {{ roles = ["admin"] }}
#grace_period   = "0s"          # how long they may enrol later

#[mfa.recovery]
#count = 8

#[mfa.lockout]                  # wrong codes before a lock, and how long it holds: twice as long each time
#threshold    = 5
#duration     = "15m"
#max_duration = "24h"

#[mfa.password]
#min_length = 12

# Libraries in plugin_dir, each pinned to its bytes: `countersign plugin install FILE` adds them.
"##
    )
}

#[cfg(test)]
mod tests {
    use super::{super::golden::examined, *};

    fn text() -> String {
        let url = "http://127.0.0.1:8080".parse().expect("an origin");
        starter(([127, 0, 0, 1], 8080).into(), &url, Registration::Open)
    }

    #[test]
    fn the_starter_is_without_problems() {
        let (config, problems) = examined(&text());
        assert_eq!(problems.to_string(), "");
        let config = config.expect("without problems");
        assert_eq!((config.store.as_str(), config.registration), ("sqlite", Registration::Open));
        assert_eq!(config.unowned_tables(&["mfa", "store-sqlite"]).to_string(), "");
        assert_eq!(config.plugin_table("mfa").expect("plain"), r#"{"issuer":"Countersign"}"#);
    }

    #[test]
    fn what_it_comments_out_can_be_uncommented() {
        let text = text().replace("http://127.0.0.1:8080", "https://auth.example.org");
        let line = |line: &str| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') && !setting.is_empty() => format!("{setting}\n"),
            _ => format!("{line}\n"),
        };
        let uncommented: String = text.lines().map(line).collect();
        let (config, problems) = examined(&uncommented);
        assert_eq!(problems.to_string(), "");
        let table = config.expect("without problems").plugin_table("mfa").expect("plain");
        assert!(
            table.contains(r#""lockout":{"duration":"15m","max_duration":"24h","threshold":5}"#),
            "{table}"
        );
    }

    #[test]
    fn the_defaults_it_shows_are_the_defaults() {
        let (commented, _) = examined(&text());
        let settings =
            text().replace("#[", "[").replace("\n#idle", "\nidle").replace("\n#absolute", "\nabsolute");
        let settings = settings.replace("\n#argon2", "\nargon2").replace("\n#max_c", "\nmax_c");
        let settings = settings.replace("\n#retention", "\nretention").replace("\n#data", "\ndata");
        let (shown, problems) = examined(&settings.replace("\n#plugin_dir", "\nplugin_dir"));
        let (commented, shown) = commented.zip(shown).unwrap_or_else(|| panic!("{problems}"));
        assert_eq!(commented.session, shown.session);
        assert_eq!(commented.password, shown.password);
        assert_eq!(commented.audit_retention, shown.audit_retention);
        assert_eq!(commented.data_dir.file_name(), shown.data_dir.file_name());
        assert_eq!(commented.plugin_dir.file_name(), shown.plugin_dir.file_name());
    }
}
