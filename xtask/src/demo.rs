//! `cargo xtask demo`: from nothing to a login that demands a second factor.
mod place;
mod walk;

use crate::{
    artifacts::{self, Artifacts},
    project,
    project::{command, target_dir},
    server::Server,
};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, absolute},
    process::Stdio,
};
use toml_edit::{DocumentMut, value};

/// Builds, initialises, starts; then shows the way, or goes it.
pub fn run(dir: Option<&Path>, walk: bool) -> Result<()> {
    let built = artifacts::build(false)?;
    match dir {
        Some(dir) => run_in(&absolute(dir)?, walk, &built),
        None => run_in(&place::usual(&target_dir()?.join("demo"))?, walk, &built),
    }
}

/// The walk in a directory that is made for it, as a newcomer has it.
pub fn from_nothing(built: &Artifacts) -> Result<()> {
    let dir = place::usual(&target_dir()?.join("demo-from-nothing"))?;
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    run_in(&dir, true, built)
}

fn run_in(dir: &Path, walk: bool, built: &Artifacts) -> Result<()> {
    let config = dir.join("countersign.toml");
    let address = free_address()?;
    if config.exists() {
        listen_on(&config, address)?;
        refresh(built, &config)?;
    } else {
        let mut init = command(built.binary());
        init.args(["init", "--registration", "open", "--listen", &address.to_string()]);
        project::run(init.arg(dir).stdout(Stdio::null()))?;
    }

    let mut serve = command(built.binary());
    serve.args(["serve", "--config"]).arg(&config);
    let log = dir.join("demo.log");
    if walk {
        // The way is what is to be seen; what the host says meanwhile is kept beside its data.
        let file = fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        serve.stdout(file.try_clone()?).stderr(file).stdin(Stdio::null());
    }
    let mut server = Server::start(&mut serve, address)
        .inspect_err(|_| {
            if walk {
                eprint!("{}", fs::read_to_string(&log).unwrap_or_default());
            }
        })
        .with_context(|| format!("the demo in {} does not start", dir.display()))?;
    if walk {
        walk::go(address)?;
        let status = server.stop()?;
        ensure!(status.success(), "the host did not stop as it should ({status}); see {}", log.display());
        println!("\nThe host has stopped. Its data and its log are in {}", dir.display());
    } else {
        println!("{}", way(address, dir));
        server.wait()?;
    }
    Ok(())
}

/// The port that the contract gives as its example, or any other when it is taken.
fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 8080))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .context("no port is free on 127.0.0.1")?;
    Ok(listener.local_addr()?)
}

/// The port of the last time may be taken now.
fn listen_on(config: &Path, address: SocketAddr) -> Result<()> {
    let text = fs::read_to_string(config).with_context(|| format!("cannot read {}", config.display()))?;
    let mut document: DocumentMut =
        text.parse().with_context(|| format!("{} is no TOML", config.display()))?;
    document["listen"] = value(address.to_string());
    document["public_url"] = value(format!("http://{address}"));
    fs::write(config, document.to_string()).with_context(|| format!("cannot write {}", config.display()))
}

/// The plugins that it has may have been built anew since the last time.
fn refresh(built: &Artifacts, config: &Path) -> Result<()> {
    let text = fs::read_to_string(config).with_context(|| format!("cannot read {}", config.display()))?;
    for library in artifacts::plugins()?.iter().map(|plugin| built.plugin(plugin)) {
        let stem = library.file_stem().unwrap_or_default().to_string_lossy();
        if text.contains(&*stem) {
            let mut install = command(built.binary());
            install.args(["plugin", "install", "--config"]).arg(config).arg(&library);
            project::run(install.stdout(Stdio::null()))?;
        }
    }
    Ok(())
}

fn way(address: SocketAddr, dir: &Path) -> String {
    let jar = dir.join("cookies.txt");
    let jar = jar.display();
    let user = r#""email":"you@example.org","password":"correct horse battery staple""#;
    let api = format!("http://{address}/api/auth");
    format!(
        "
Countersign is ready on http://{address}, with its data in {dir}.

In a second terminal, in this directory:

1. Sign up. The jar keeps the session cookie.
   curl -sc {jar} --json '{{{user}}}' {api}/register

2. Enrol an authenticator app. Scan the code that this draws.
   curl -sb {jar} --json '{{}}' {api}/mfa/totp/enroll | cargo xtask qr

3. Confirm it with the code that the app shows now.
   curl -sb {jar} --json '{{\"enrollment\":\"ENROLLMENT\",\"code\":\"CODE\"}}' {api}/mfa/totp/verify

4. Sign in again: the password alone is answered 202 mfa_required, and the app's next code opens the door.
   curl -sc {jar} --json '{{{user}}}' {api}/login
   curl -sb {jar} -c {jar} --json '{{\"code\":\"CODE\"}}' {api}/mfa/totp/verify

Or see it all happen: cargo xtask demo --walk. Ctrl-C ends the host.
",
        dir = dir.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_is_shell_that_can_be_pasted() {
        let way = way(SocketAddr::from(([127, 0, 0, 1], 8080)), Path::new("/demo"));
        let lines: Vec<_> = way.lines().filter(|line| line.trim_start().starts_with("curl ")).collect();
        assert_eq!(lines.len(), 5);
        for line in lines {
            let json = line.split('\'').nth(1).expect("a quoted body");
            assert!(serde_json::from_str::<serde_json::Value>(json).is_ok(), "{json}");
        }
    }
}
