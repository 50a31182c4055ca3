//! What a reverse proxy and the host have to agree on, as far as the configuration tells.
use super::{Finding, problem, warning};
use crate::config::Config;
use std::net::IpAddr;

pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (listen, origin) = (config.listen, config.public_url.origin());
    if !listen.ip().is_loopback() {
        let what = format!(
            "listen = \"{listen}\" is plain HTTP: whoever reaches it goes around the proxy and its TLS"
        );
        let fix =
            "listen on 127.0.0.1, or let a firewall pass the proxy alone (of a container, publish no port)";
        findings.push(warning("proxy", what, fix));
    }
    if config.public_url.is_https() {
        if origin.ends_with(&format!(":{}", listen.port())) {
            let what =
                format!("public_url = \"{origin}\" names the port of `listen`, which does not speak TLS");
            let fix = "leave the port out, or name the one on which the proxy speaks TLS";
            findings.push(problem("proxy", what, fix));
        }
        if config.trusted_proxies.is_empty() {
            let what = "trusted_proxies is empty and public_url is https: to the host all requests come from the proxy, \
                so they share its limit of connections, and the audit record shows its address";
            findings.push(warning(
                "proxy",
                what,
                "name the proxy's address: trusted_proxies = [\"127.0.0.1\"]",
            ));
        }
    } else {
        let what = format!("public_url = \"{origin}\": from nowhere but this machine can anybody sign in");
        let fix = "for more than a trial, set the https URL that browsers see, and put a proxy in front that speaks TLS";
        findings.push(warning("proxy", what, fix));
    }
    for network in config.trusted_proxies.iter().filter(|network| network.holds_strangers()) {
        let what =
            format!("trusted_proxies has {network}: strangers live there too, and could say to be anybody");
        findings.push(problem("proxy", what, "name the proxy's own address"));
    }
    findings.extend(cookies(config));
    if let Some(listen) = config.metrics.filter(|listen| !listen.ip().is_loopback()) {
        let what =
            format!("[metrics] listen = \"{listen}\": whoever reaches it reads them, there is no password");
        findings.push(warning("metrics", what, "let a firewall pass Prometheus alone"));
    }
    findings
}

/// Further names, and whether a session is seen there. An address is asked for by what looks after the host, and by no
/// browser.
fn cookies(config: &Config) -> Vec<Finding> {
    let bare = |host: &str| host.rsplit_once(':').map_or(host, |(name, _)| name).to_owned();
    let own = bare(config.public_url.host());
    let is_another =
        |name: &String| *name != own && !name.starts_with('[') && name.parse::<IpAddr>().is_err();
    let others = config.allowed_hosts.iter().map(|host| bare(host)).filter(is_another);
    let Some(domain) = &config.session.cookie_domain else {
        let blind = |name: String| {
            let what = format!(
                "allowed_hosts has `{name}`, where without cookie_domain nobody sees who signed in at {own}"
            );
            let fix = "if that is an application behind the same proxy, set [session] cookie_domain to the domain that both \
                are in; if it is another name of this host, all is well";
            warning("proxy", what, fix)
        };
        return others.map(blind).collect();
    };
    let others: Vec<String> = others.collect();
    if others.is_empty() {
        let what = format!(
            "cookie_domain = \"{domain}\" shows the session to every host in it, and allowed_hosts has none"
        );
        let fix = "name the applications in allowed_hosts, or leave cookie_domain out";
        return vec![warning("proxy", what, fix)];
    }
    let is_outside = |name: &&String| *name != domain && !name.ends_with(&format!(".{domain}"));
    let outside = others.iter().filter(is_outside).map(|name| {
        let what = format!("allowed_hosts has `{name}`, which is not in cookie_domain = \"{domain}\": nobody is signed in there");
        problem("proxy", what, "give it a name in that domain, or take it out of allowed_hosts")
    });
    outside.collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Level, tests::assert_found},
        *,
    };
    use std::path::Path;

    const SOUND: &str = "public_url = \"https://auth.example.org\"\ntrusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\", \"fc00::/7\"]";

    fn found(text: &str) -> Vec<Finding> {
        let text = format!("{text}\n[store]\nuse = \"memory\"\n");
        let config = Config::from_text(&text, Path::new("/")).unwrap_or_else(|problems| panic!("{problems}"));
        findings(&config)
    }

    #[test]
    fn each_mistake_is_found_and_nothing_else() {
        let sound = |more: &str| format!("{SOUND}\n{more}");
        let wiki = "allowed_hosts = [\"auth.example.org:8443\", \"wiki.example.org\"]";
        let domain = "[session]\ncookie_domain = \"example.org\"";
        let own = "allowed_hosts = [\"auth.example.org:8443\", \"192.0.2.1:80\", \"[::1]:80\", \"[::1]\", \"127.0.0.1\"]";
        for text in [SOUND.into(), sound(own), sound(&format!("{wiki}\n{domain}"))] {
            assert_found(&text, &found(&text), &[]);
        }
        let (problem, warning) = (Level::Problem, Level::Warning);
        for (text, level, area, part) in [
            (sound("listen = \"0.0.0.0:8080\""), warning, "proxy", "around the proxy"),
            ("public_url = \"http://localhost:8080\"".into(), warning, "proxy", "nowhere but this machine"),
            (
                "public_url = \"https://auth.example.org\"".into(),
                warning,
                "proxy",
                "trusted_proxies is empty",
            ),
            (SOUND.replace("org\"", "org:8080\""), problem, "proxy", "names the port of `listen`"),
            (SOUND.replace("10.0.0.0/8", "0.0.0.0/1"), problem, "proxy", "0.0.0.0/1"),
            (SOUND.replace("fc00::/7", "8000::/1"), problem, "proxy", "8000::/1"),
            (sound(wiki), warning, "proxy", "`wiki.example.org`"),
            (sound(domain), warning, "proxy", "allowed_hosts has none"),
            (
                sound(&format!("allowed_hosts = [\"wiki.example.com\"]\n{domain}")),
                problem,
                "proxy",
                "not in cookie_domain = \"example.org\"",
            ),
            (
                sound(&format!("allowed_hosts = [\"wiki.notexample.org\"]\n{domain}")),
                problem,
                "proxy",
                "`wiki.notexample.org`",
            ),
            (sound("[metrics]\nlisten = \"192.0.2.1:9100\""), warning, "metrics", "192.0.2.1:9100"),
        ] {
            assert_found(&text, &found(&text), &[(level, area, part)]);
        }
    }
}
