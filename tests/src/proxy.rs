//! A reverse proxy as people run it, from a file of `examples/proxies`: a browser before it, an application behind it.
use crate::{Authority, Reply, tools::command};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use xtask::{project, tools};

/// No start is worth waiting longer for.
const TO_START: Duration = Duration::from_secs(30);

/// The port that nobody listens at on an address that is one test's alone.
pub fn free_port(ip: IpAddr) -> SocketAddr {
    let listener = TcpListener::bind((ip, 0)).expect("a port");
    listener.local_addr().expect("its address")
}

/// An application that knows nothing of signing in: it answers with the head of the request as it arrived.
#[derive(Debug)]
pub struct Application {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Application {
    /// One that listens until the test ends.
    pub fn start(ip: IpAddr) -> Self {
        let listener = TcpListener::bind((ip, 0)).expect("a port");
        let address = listener.local_addr().expect("its address");
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counter.fetch_add(1, SeqCst);
                // A proxy that hangs up has no use for an answer.
                let _ = echo(stream);
            }
        });
        Self { address, asked }
    }
    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }
}

fn echo(stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        head.push_str(&line);
    }
    std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{head}",
        head.len()
    );
    reader.get_mut().write_all(answer.as_bytes())
}

/// A proxy that runs; dropping it ends it.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    dir: TempDir,
}

/// What stands where the examples have their own addresses.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// Where the proxy is to listen, for 443.
    pub listen: SocketAddr,
    /// The host, for `127.0.0.1:8080`.
    pub host: SocketAddr,
    /// The application, for `127.0.0.1:3000`.
    pub application: &'a Application,
    /// Who signs the certificate.
    pub authority: &'a Authority,
}

impl Proxy {
    /// Debian's nginx with `examples/proxies/nginx.conf`: two names below example.org.
    pub fn nginx(places: Places<'_>) -> Self {
        Self::nginx_with("nginx.conf", "*.example.org", places)
    }
    /// The same with `examples/proxies/nginx-one-name.conf`: example.org alone.
    pub fn nginx_on_one_name(places: Places<'_>) -> Self {
        Self::nginx_with("nginx-one-name.conf", "example.org", places)
    }
    fn nginx_with(name: &str, certified: &str, places: Places<'_>) -> Self {
        let Places { listen, authority, .. } = places;
        let certificate = authority.certificate(certified);
        let site = example(
            name,
            places,
            &[
                ("listen 443 ssl;", &format!("listen {listen} ssl;")),
                ("/etc/ssl/example.org/fullchain.pem", &shown(&certificate.chain)),
                ("/etc/ssl/example.org/key.pem", &shown(&certificate.key)),
            ],
        );
        let dir = tempfile::tempdir().expect("a directory");
        let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary =
            kinds.map(|kind| format!("{kind}_temp_path {};\n", shown(&dir.path().join(kind)))).concat();
        let main = format!(
            "daemon off; master_process off; pid {}; error_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}{site}}}\n",
            shown(&dir.path().join("pid"))
        );
        let file = dir.path().join("nginx.conf");
        fs::write(&file, main).expect("a file");
        let mut nginx = project::command(tools::proxy("nginx").expect("a place"));
        nginx.args(["-e", "stderr", "-p"]).arg(dir.path()).arg("-c").arg(file);
        Self::start(&mut nginx, listen, dir)
    }

    /// Debian's Caddy with `examples/proxies/Caddyfile`.
    pub fn caddy(places: Places<'_>) -> Self {
        let Places { listen, authority, .. } = places;
        let certificate = authority.certificate("*.example.org");
        let (chain, key) = (shown(&certificate.chain), shown(&certificate.key));
        let at = |name: &str| {
            let (ip, port) = (listen.ip(), listen.port());
            format!("\nhttps://{name}:{port} {{\n\tbind {ip}\n\ttls {chain} {key}\n")
        };
        let [auth, app] = ["auth.example.org", "app.example.org"];
        let site = example(
            "Caddyfile",
            places,
            &[(&format!("\n{auth} {{\n"), &at(auth)), (&format!("\n{app} {{\n"), &at(app))],
        );
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("Caddyfile");
        let main = format!("{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{site}");
        fs::write(&file, main).expect("a file");
        let mut caddy = project::command(tools::proxy("caddy").expect("a place"));
        caddy.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
        for variable in ["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"] {
            caddy.env(variable, dir.path());
        }
        Self::start(&mut caddy, listen, dir)
    }

    /// Traefik with `examples/proxies/traefik.yml` as the file of its file provider.
    pub fn traefik(places: Places<'_>) -> Self {
        let Places { listen, authority, .. } = places;
        let certificate = authority.certificate("*.example.org");
        let (chain, key) = (shown(&certificate.chain), shown(&certificate.key));
        let site = example("traefik.yml", places, &[]);
        let dir = tempfile::tempdir().expect("a directory");
        // Under its own name Traefik would take it for the file of its static configuration.
        let file = dir.path().join("countersign.yml");
        let certificates = format!("tls:\n  certificates:\n    - certFile: {chain}\n      keyFile: {key}\n");
        fs::write(&file, format!("{site}\n{certificates}")).expect("a file");
        let mut traefik = project::command(tools::proxy("traefik").expect("a place"));
        traefik.args(["--global.checkNewVersion=false", "--global.sendAnonymousUsage=false"]);
        traefik.arg(format!("--entryPoints.websecure.address={listen}"));
        traefik.arg(format!("--providers.file.filename={}", shown(&file)));
        let proxy = Self::start(traefik.current_dir(dir.path()), listen, dir);
        // It listens before it has read the file, and knows neither names nor certificates until then.
        let browser = Browser::new(places, &["auth.example.org"]);
        let page = format!("https://auth.example.org:{}/login", listen.port());
        let give_up = Instant::now() + TO_START;
        while !browser.tries(&page, &[], &[]).is_ok_and(|reply| reply.status == 200) {
            assert!(Instant::now() < give_up, "{}", proxy.log());
            thread::sleep(Duration::from_millis(20));
        }
        proxy
    }

    fn start(command: &mut Command, listen: SocketAddr, dir: TempDir) -> Self {
        let log = fs::File::create(dir.path().join("log")).expect("a log");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        let child = command.spawn().expect("the proxy starts; `cargo xtask test` installs it");
        let mut proxy = Self { child, dir };
        let give_up = Instant::now() + TO_START;
        while TcpStream::connect(listen).is_err() {
            let ended = proxy.child.try_wait().expect("it can be asked");
            assert!(ended.is_none() && Instant::now() < give_up, "{ended:?}\n{}", proxy.log());
            thread::sleep(Duration::from_millis(20));
        }
        proxy
    }

    /// Everything that it wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The file that people are shown, at other addresses. Each must have been there.
fn example(name: &str, places: Places<'_>, own: &[(&str, &str)]) -> String {
    let file = project::root().join("examples/proxies").join(name);
    let mut text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let (host, application) = (places.host.to_string(), places.application.address.to_string());
    for (from, to) in
        own.iter().copied().chain([("127.0.0.1:8080", &*host), ("127.0.0.1:3000", &*application)])
    {
        assert!(text.contains(from), "{name} has no {from:?}");
        text = text.replace(from, to);
    }
    text
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// `curl` with a jar of cookies: it knows TLS, which names a cookie goes to, and the rules of `__Host-` and `__Secure-`.
#[derive(Debug)]
pub struct Browser {
    dir: TempDir,
    authority: PathBuf,
    /// `auth.example.org:443:127.0.0.1`.
    names: Vec<String>,
}

impl Browser {
    /// One that finds every name below example.org at the proxy.
    pub fn new(places: Places<'_>, names: &[&str]) -> Self {
        let (ip, port) = (places.listen.ip(), places.listen.port());
        let names = names.iter().map(|name| format!("{name}:{port}:{ip}")).collect();
        Self { dir: tempfile::tempdir().expect("a directory"), authority: places.authority.file(), names }
    }
    /// The names of its cookies.
    pub fn cookies(&self) -> Vec<String> {
        let jar = fs::read_to_string(self.dir.path().join("jar")).unwrap_or_default();
        jar.lines().filter_map(|line| Some(line.split('\t').nth(5)?.to_owned())).collect()
    }
    /// Looks at a page.
    pub fn look(&self, url: &str, headers: &[&str]) -> Reply {
        self.ask(url, &[&["Accept: text/html"], headers].concat(), &[])
    }
    /// Sends a form of a page of ours.
    pub fn post(&self, url: &str, headers: &[&str], fields: &[(&str, &str)]) -> Reply {
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut words = vec!["--request", "POST"];
        words.extend(fields.iter().flat_map(|field| ["--data-urlencode", field.as_str()]));
        self.ask(url, &[&["Accept: text/html"], headers].concat(), &words)
    }
    /// Any request.
    pub fn ask(&self, url: &str, headers: &[&str], words: &[&str]) -> Reply {
        self.tries(url, headers, words).unwrap_or_else(|why| panic!("{url}: {why}"))
    }
    /// Any request, to whom may not be there, or be somebody else.
    fn tries(&self, url: &str, headers: &[&str], words: &[&str]) -> Result<Reply, String> {
        let [jar, head, body] = ["jar", "head", "body"].map(|name| self.dir.path().join(name));
        fs::write(&body, "").expect("a file");
        let mut curl = command("curl");
        curl.args(["--silent", "--show-error", "--http1.1", "--max-time", "60", "--noproxy", "*"]);
        curl.arg("--cacert").arg(&self.authority).arg("--cookie").arg(&jar).arg("--cookie-jar").arg(&jar);
        curl.arg("--dump-header").arg(&head).arg("--output").arg(&body);
        curl.args(self.names.iter().flat_map(|name| ["--resolve", name]));
        curl.args(headers.iter().flat_map(|header| ["--header", header])).args(words).arg(url);
        let output = curl.stdin(Stdio::null()).output().expect("curl starts");
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let head = fs::read_to_string(head).expect("a head");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status");
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers =
            headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        Ok(Reply { status, headers, body: fs::read(body).expect("a body") })
    }
}
