//! The host's own tables, key by key.
use super::{
    Accent, Config, Document, Env, LogConfig, LogFormat, PagesConfig, PasswordConfig, PluginEntry, Problem,
    Problems, PublicUrl, Registration, SessionConfig,
    address::AllowedHost,
    read::{Reader, Table, expected},
    seed,
    tree::{Node, Syntax},
    values::{duration, file_name, flag, kibibytes, parsed, path, sha256, text, whole},
};
use crate::logs;
use countersign_plugin_api::manifest::is_name;
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

/// The names at the top of the file that are the host's, and so no plugin's.
pub(super) const OWN: [&str; 19] = [
    "listen",
    "public_url",
    "allowed_hosts",
    "trusted_proxies",
    "registration",
    "openapi",
    "data_dir",
    "plugin_dir",
    "keys",
    "session",
    "audit",
    "password",
    "pages",
    "metrics",
    "log",
    "store",
    "delivery",
    "mail",
    "plugin",
];

pub(super) fn read(
    document: &Arc<Document>,
    syntax: &Syntax,
    folder: &Path,
    env: Env,
) -> (Option<Config>, Problems) {
    let reader = Reader::new(&document.source, syntax);
    if syntax.swallowed {
        return (None, reader.finish());
    }
    let mut root = Table::root(&reader, &document.root);

    let listen = root.read("listen", |node| {
        parsed(node).map_err(|_| "must be an address and a port, like \"127.0.0.1:8080\"".to_owned())
    });
    let mut metrics = root.table("metrics");
    let metrics_listen = metrics.read("listen", |node| {
        parsed(node).map_err(|_| "must be an address and a port, like \"127.0.0.1:9100\"".to_owned())
    });
    metrics.finish();
    let listen = listen.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)));
    let public_url = public_url(&mut root, listen);
    let token_secret = seed::token_secret(env);
    let registration = root.read("registration", registration).unwrap_or(Registration::Closed);
    let mut delivery = root.table("delivery");
    let delivery_name = delivery.read("use", registered);
    if registration == Registration::Verified && !delivery.has("use") {
        let why = "\"verified\" proves addresses by mail: name what sends it with `use` in [delivery], or write \"closed\"";
        root.refuse("registration", why);
    }
    delivery.finish_beside_tables();
    let config = Config {
        file: document.source.file.clone(),
        listen,
        allowed_hosts: root.list("allowed_hosts", |node| parsed(node).map(|AllowedHost(host)| host)),
        trusted_proxies: root.list("trusted_proxies", parsed),
        registration,
        data_dir: root.read("data_dir", |node| path(node, folder)).unwrap_or_else(|| folder.join("data")),
        plugin_dir: root
            .read("plugin_dir", |node| path(node, folder))
            .unwrap_or_else(|| folder.join("plugins")),
        keys_file: {
            let mut keys = root.table("keys");
            let file = keys.read("file", |node| path(node, folder));
            keys.finish();
            file.unwrap_or_else(|| folder.join("keys.toml"))
        },
        token_secret: token_secret.as_ref().ok().cloned().flatten(),
        session: session(root.table("session"), public_url.as_ref()),
        audit_retention: {
            let mut audit = root.table("audit");
            let retention = audit.read("retention", |node| duration(node, ("1h", "3650d")));
            audit.finish();
            retention.unwrap_or(Duration::from_hours(90 * 24))
        },
        password: password(root.table("password")),
        pages: pages(root.table("pages"), folder),
        openapi: root.read("openapi", flag).unwrap_or(true),
        metrics: metrics_listen,
        log: log(root.table("log")),
        store: {
            let mut store = root.table("store");
            let named =
                store.need("use", "it names the store, like `use = \"sqlite\"` in [store]", registered);
            store.finish_beside_tables();
            named.unwrap_or_default()
        },
        delivery: delivery_name,
        mail_templates: {
            let mut mail = root.table("mail");
            let folder = mail.read("templates", |node| path(node, folder));
            mail.finish();
            folder
        },
        plugins: plugins(root.tables("plugin")),
        public_url: public_url.unwrap_or_else(PublicUrl::nowhere),
        folder: folder.to_owned(),
        document: Arc::clone(document),
        env,
    };
    root.finish_beside_tables();
    let mut problems = reader.finish();
    if let Err(why) = token_secret {
        problems.push(Problem::of_file(&config.file, Some(seed::TOKEN_SECRET), &why));
    }
    (Some(config), problems)
}

/// None when it is wrong, or missing where it cannot be guessed.
fn public_url(root: &mut Table<'_>, listen: SocketAddr) -> Option<PublicUrl> {
    let guess = PublicUrl::of(listen).filter(|_| !root.has("public_url"));
    // Plain http is for loopback, so what is reached from elsewhere has a name that only its owner knows.
    let read = match guess {
        None => root.need("public_url", "beyond loopback it cannot be guessed from `listen`", parsed),
        Some(_) => root.read("public_url", parsed),
    };
    read.or(guess)
}

fn registration(node: &Node) -> Result<Registration, String> {
    match node.text() {
        Some("closed") => Ok(Registration::Closed),
        Some("open") => Ok(Registration::Open),
        Some("verified") => Ok(Registration::Verified),
        Some(other) => Err(format!("`{other}` must be \"verified\", \"closed\" or \"open\"")),
        None => Err(expected("\"verified\", \"closed\" or \"open\"", node)),
    }
}

fn session(mut table: Table<'_>, public_url: Option<&PublicUrl>) -> SessionConfig {
    let ttl = |node: &Node| duration(node, ("1s", "90d"));
    let (idle_ttl, absolute_ttl) = (table.read("idle_ttl", ttl), table.read("absolute_ttl", ttl));
    // Compared only as far as they are what the user meant.
    let absolute_is_wrong = absolute_ttl.is_none() && table.has("absolute_ttl");
    let absolute_ttl = absolute_ttl.unwrap_or(Duration::from_hours(12));
    if idle_ttl.is_some_and(|idle| idle > absolute_ttl) && !absolute_is_wrong {
        let why =
            "must not be longer than `absolute_ttl` (\"12h\" when it is not set), which ends any session";
        table.refuse("idle_ttl", why);
    }
    let session = SessionConfig {
        idle_ttl: idle_ttl.unwrap_or(Duration::from_mins(30)).min(absolute_ttl),
        absolute_ttl,
        cookie_domain: table.read("cookie_domain", text).map(|domain| domain.to_ascii_lowercase()),
    };
    if let (Some(domain), Some(url)) = (&session.cookie_domain, public_url) {
        if !url.is_https() {
            table.refuse("cookie_domain", "needs an https `public_url`: its cookies are `Secure`");
        } else if !url.may_scope_cookies_to(domain) {
            let host = url.host();
            let message = format!(
                "`{domain}` must be a domain that `{host}` of `public_url` is in, like \"example.org\""
            );
            table.refuse("cookie_domain", &message);
        }
    }
    table.finish();
    session
}

fn password(mut table: Table<'_>) -> PasswordConfig {
    let mut argon2 = table.table("argon2");
    // The least of each is the OWASP figure that security.md promises.
    let memory = argon2.read("memory", |node| kibibytes(node, ("19 MiB", "4 GiB")));
    let iterations = argon2.read("iterations", |node| whole(node, 2..=1_000));
    let parallelism = argon2.read("parallelism", |node| whole(node, 1..=64));
    argon2.finish();
    let hashes = table.read("max_concurrent_hashes", |node| whole(node, 1..=1_024));
    table.finish();
    PasswordConfig {
        memory_kib: memory.unwrap_or(19 << 10),
        iterations: iterations.unwrap_or(2),
        parallelism: parallelism.unwrap_or(1),
        max_concurrent_hashes: hashes.unwrap_or(2) as usize,
    }
}

fn pages(mut table: Table<'_>, folder: &Path) -> PagesConfig {
    let pages = PagesConfig {
        enabled: table.read("enabled", flag).unwrap_or(true),
        name: table.read("name", text).unwrap_or_else(|| "Countersign".into()),
        logo: table.read("logo", |node| path(node, folder)),
        accent: table.read("accent", parsed).unwrap_or(Accent([0x0b, 0x5f, 0x8a])),
        templates: table.read("templates", |node| path(node, folder)),
    };
    table.finish();
    pages
}

fn log(mut table: Table<'_>) -> LogConfig {
    let level = |node: &Node| {
        let level = text(node)?;
        logs::lasting(&level).map(|()| level)
    };
    let log = LogConfig {
        format: table.read("format", log_format),
        level: table.read("level", level).unwrap_or_else(|| "info".into()),
    };
    table.finish();
    log
}

fn log_format(node: &Node) -> Result<LogFormat, String> {
    match node.text() {
        Some("json") => Ok(LogFormat::Json),
        Some("pretty") => Ok(LogFormat::Pretty),
        Some(other) => Err(format!("`{other}` must be \"json\" or \"pretty\"")),
        None => Err(expected("\"json\" or \"pretty\"", node)),
    }
}

/// A name under which a plugin can have registered something.
fn registered(node: &Node) -> Result<String, String> {
    let name = text(node)?;
    if is_name(&name) {
        Ok(name)
    } else {
        Err(format!("`{name}` is not a name: lower-case letters, digits and dashes, at most 32"))
    }
}

fn plugins(tables: Vec<Table<'_>>) -> Vec<PluginEntry> {
    let mut plugins = Vec::new();
    let mut files = Vec::new();
    for mut table in tables {
        let file = table.need("file", "it names the plugin's library in plugin_dir", file_name);
        let pin = table.read("sha256", sha256);
        let pinned_wrongly = pin.is_none() && table.has("sha256");
        let required = table.read("required", flag).unwrap_or(true);
        let at = table.place("file");
        if let Some(file) = file {
            if files.contains(&file) {
                table.refuse("file", &format!("`{file}` is loaded by an earlier [[plugin]] already"));
            } else if !pinned_wrongly {
                // A pin that cannot be read is not an absent pin.
                plugins.push(PluginEntry { file: file.clone(), sha256: pin, required, at });
            }
            files.push(file);
        }
        table.finish();
    }
    plugins
}
