//! The host that runs, with its store, its mail and what its requests looked like; without one, a kernel of this
//! moment.
use super::{Finding, counted, problem, warning};
use crate::{
    cli::{
        Failure, check,
        host::{Own, running},
    },
    config::{Config, PluginEntry},
    control::{Diagnosis, Mail, Operation},
    kernel::hex,
};
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds that the host's time may be ahead of the machine's: more was a clock that jumped.
const AHEAD: u64 = 60;
/// Seconds after which a message that still waits is worth a word: two tries have failed by then.
const LATE: u64 = 60;

/// What of the configuration matters here.
struct Wanted<'c> {
    /// The pins, by file.
    pins: Vec<(&'c str, String)>,
    origin: &'c str,
    /// Whether others sign in than whoever sits at this machine.
    is_public: bool,
    is_volatile: bool,
    now: u64,
}

/// Asks the host that runs, or looks for itself; where the configuration is refused, there is nothing to look with.
pub(super) fn asked(config: &Config, is_sound: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let answer = match running(config, &Operation::Diagnose) {
        Ok(Some(answer)) => answer.map_err(Failure::from),
        Ok(None) => {
            let what = format!("no host runs on {}", config.data_dir.display());
            let fix =
                "start it, and ask again: what a host has seen of its requests is not known without one";
            findings.push(warning("host", what, fix));
            if !is_sound || config.store_is_volatile() {
                return findings;
            }
            let own = Own::start(config, check::strictness(false));
            own.and_then(|own| own.perform(Operation::Diagnose))
        }
        Err(failure) => Err(failure),
    };
    let read = answer.and_then(|value| serde_json::from_value(value).map_err(Failure::new));
    match read {
        Ok(diagnosis) => findings.extend(found(&Wanted::of(config), &diagnosis)),
        Err(failure) => {
            let fix = "do what it says; restart a host of another version";
            findings.push(problem("host", format!("it cannot be asked how it is: {failure}"), fix));
        }
    }
    findings
}

impl<'c> Wanted<'c> {
    fn of(config: &'c Config) -> Self {
        let pin = |plugin: &'c PluginEntry| Some((plugin.file.as_str(), hex(&plugin.sha256?)));
        Self {
            pins: config.plugins.iter().filter_map(pin).collect(),
            origin: config.public_url.origin(),
            is_public: config.public_url.is_https(),
            is_volatile: config.store_is_volatile(),
            now: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        }
    }
}

fn found(wanted: &Wanted<'_>, diagnosis: &Diagnosis) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(why) = &diagnosis.not_ready {
        let fix = "the log says more; a plugin in quarantine needs a restart of the host";
        findings.push(problem("host", format!("it is not ready: {why}"), fix));
    }
    if let Some(why) = &diagnosis.reload {
        let what = format!("the last reload was refused, and it runs with what was there before: {why}");
        findings.push(problem("host", what, "correct it, and run `countersign reload`"));
    }
    for (file, pin) in &wanted.pins {
        if diagnosis.plugins.get(*file).is_some_and(|runs| runs != pin) {
            let what = format!("it runs another {file} than the one that is pinned now");
            findings.push(warning("host", what, "run `countersign reload`; for a store, restart it"));
        }
    }
    if diagnosis.now > wanted.now + AHEAD {
        let ahead = diagnosis.now - wanted.now;
        let what = format!(
            "the clock was {ahead} seconds ahead once, and the host goes by that until it has caught up"
        );
        let fix = "none is needed: people sign in, codes of apps go by the clock; times on record are ahead";
        findings.push(warning("clock", what, fix));
    }
    findings.extend(proxy(wanted, diagnosis));
    findings.extend(store(wanted, diagnosis));
    findings.extend(mail(diagnosis));
    findings
}

/// What requests have shown since the host started.
fn proxy(wanted: &Wanted<'_>, diagnosis: &Diagnosis) -> Vec<Finding> {
    let origin = wanted.origin;
    let all = [
        (
            diagnosis.silent,
            "of a trusted proxy did not say for whom: that counts as the proxy's own".to_owned(),
            "have it set X-Forwarded-For (nginx: proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for)",
        ),
        (
            diagnosis.untrusted,
            "said for whom, from an address that trusted_proxies does not name: that was ignored".to_owned(),
            "if that was your proxy, name its address; if not, somebody tried",
        ),
        (
            diagnosis.elsewhere,
            format!("asked for another host than {origin}, and got 421"),
            "have the proxy pass on the name that the browser asked for (nginx: proxy_set_header Host $host), or add the \
                name to allowed_hosts",
        ),
    ];
    let seen = all.into_iter().filter(|(count, ..)| *count > 0);
    seen.map(|(count, what, fix)| warning("proxy", format!("{} {what}", counted(count, "request")), fix))
        .collect()
}

fn store(wanted: &Wanted<'_>, diagnosis: &Diagnosis) -> Vec<Finding> {
    let mut findings = Vec::new();
    if diagnosis.store.is_none() || diagnosis.sample.is_none() {
        let fix = "is its disk there, or its network? the log says what it answers";
        findings.push(problem("store", "the store does not answer", fix));
    }
    if let Some((records, shut @ 1..)) = diagnosis.sample {
        let what = format!(
            "{shut} of {records} records do not open: swapped, damaged, or sealed with a key that is gone"
        );
        let fix =
            "`countersign store check` names them; restore the keys that belong to this store, or a backup";
        findings.push(problem("store", what, fix));
    }
    for (name, (held, most)) in ["records", "bytes"].into_iter().zip(diagnosis.store.unwrap_or_default()) {
        let used = u128::from(held) * 100 / u128::from(most.max(1));
        let fix = format!("raise max_{name} of the store, and restart the host");
        if most > 0 && used >= 90 {
            let what =
                format!("{used} % of the {name} that the store takes are there: nobody can sign up any more");
            findings.push(problem("store", what, fix));
        } else if most > 0 && used >= 70 {
            findings.push(warning(
                "store",
                format!("{used} % of the {name} that the store takes are there"),
                fix,
            ));
        }
    }
    if wanted.is_volatile {
        let what = "the store is in memory: a restart forgets every account, every factor and every lock";
        let fix = "use one that lasts, such as [store] use = \"sqlite\", for anything but a trial";
        let level = if wanted.is_public { problem } else { warning };
        findings.push(level("store", what, fix));
    }
    findings
}

fn mail(diagnosis: &Diagnosis) -> Vec<Finding> {
    let mut findings = Vec::new();
    match &diagnosis.mail {
        Some(Mail::Works) => {}
        Some(Mail::Fails(why)) => {
            let what = format!("the next hop of [delivery] takes no mail: {why}");
            let fix = "look at its address, its TLS and its credentials; can this machine reach it?";
            findings.push(problem("mail", what, fix));
        }
        Some(Mail::Unknown) => {
            let what = "it is not known whether mail goes out: the plugin of [delivery] can only tell by sending some";
            let fix =
                "ask for a link for yourself on the sign-in page, and look at `countersign outbox list`";
            findings.push(warning("mail", what, fix));
        }
        None => {
            let what = "there is no [delivery]: no codes, no links, no notices, and a forgotten password is an administrator's";
            findings.push(warning("mail", what, "configure one, unless that is meant"));
        }
    }
    let (messages, oldest) = diagnosis.waiting;
    if messages > 0 && oldest >= LATE {
        let messages = counted(messages, "message");
        let what = format!("the oldest of {messages} has waited for {oldest} seconds");
        findings.push(warning("mail", what, "`countersign outbox list` says why"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Level, tests::assert_found},
        *,
    };

    const NOW: u64 = 1_000_000;

    fn sound() -> (Diagnosis, Wanted<'static>) {
        let diagnosis = Diagnosis {
            now: NOW + AHEAD,
            plugins: [("a.so".to_owned(), "11".to_owned())].into(),
            store: Some([(69, 100), (5, 0)]),
            sample: Some((69, 0)),
            mail: Some(Mail::Works),
            waiting: (5, LATE - 1),
            ..Diagnosis::default()
        };
        let pins = vec![("a.so", "11".into()), ("not-in-use.so", "22".into())];
        let origin = "https://auth.example.org";
        (diagnosis, Wanted { pins, origin, is_public: true, is_volatile: false, now: NOW })
    }

    /// What it is, how it comes about, and what is found.
    type Mistake = (&'static str, fn(&mut Diagnosis, &mut Wanted<'_>), Level, &'static str, &'static str);

    #[test]
    fn each_mistake_is_found_and_nothing_else() {
        let (diagnosis, wanted) = sound();
        assert_found("none", &found(&wanted, &diagnosis), &[]);
        let (problem, warning) = (Level::Problem, Level::Warning);
        let tries: [Mistake; 20] = [
            ("not ready", |d, _| d.not_ready = Some("gone".into()), problem, "host", "not ready: gone"),
            ("reload", |d, _| d.reload = Some("a line".into()), problem, "host", "a line"),
            ("pins", |_, w| w.pins[0].1 = "33".into(), warning, "host", "another a.so"),
            ("ahead", |d, _| d.now += 1, warning, "clock", "61 seconds ahead"),
            ("silent", |d, _| d.silent = 2, warning, "proxy", "2 requests of a trusted proxy"),
            ("untrusted", |d, _| d.untrusted = 1, warning, "proxy", "1 request said for whom"),
            (
                "elsewhere",
                |d, _| d.elsewhere = 4,
                warning,
                "proxy",
                "another host than https://auth.example.org",
            ),
            ("a silent store", |d, _| d.store = None, problem, "store", "does not answer"),
            ("one that cannot be read", |d, _| d.sample = None, problem, "store", "does not answer"),
            ("shut", |d, _| d.sample = Some((69, 1)), problem, "store", "1 of 69 records do not open"),
            ("filling", |d, _| d.store = Some([(70, 100), (0, 0)]), warning, "store", "70 % of the records"),
            ("full", |d, _| d.store = Some([(90, 100), (0, 0)]), problem, "store", "nobody can sign up"),
            (
                "bytes",
                |d, _| d.store = Some([(0, 0), (u64::MAX, u64::MAX)]),
                problem,
                "store",
                "raise max_bytes",
            ),
            ("memory", |_, w| w.is_volatile = true, problem, "store", "sqlite"),
            (
                "a trial",
                |_, w| (w.is_volatile, w.is_public) = (true, false),
                warning,
                "store",
                "forgets every",
            ),
            ("relay", |d, _| d.mail = Some(Mail::Fails("x".into())), problem, "mail", "takes no mail: x"),
            ("not known", |d, _| d.mail = Some(Mail::Unknown), warning, "mail", "it is not known"),
            ("no mail", |d, _| d.mail = None, warning, "mail", "there is no [delivery]"),
            ("waiting", |d, _| d.waiting = (5, LATE), warning, "mail", "the oldest of 5 messages"),
            ("waiting long", |d, _| d.waiting = (1, 900), warning, "mail", "900 seconds"),
        ];
        for (name, spoil, level, area, part) in tries {
            let (mut diagnosis, mut wanted) = sound();
            spoil(&mut diagnosis, &mut wanted);
            assert_found(name, &found(&wanted, &diagnosis), &[(level, area, part)]);
        }
    }
}
