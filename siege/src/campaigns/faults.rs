//! A disk that is full, a store that fails now and then, and what the disk was asked to keep before each acknowledgement.
use super::Run;
use crate::{http::Client, people::Person, report::ms};
use anyhow::{Context, Result, ensure};
use countersign_test_kit::{Host, Site, project};
use serde_json::json;
use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use toml_edit::{Item, Table, value};
use xtask::fixtures::fixture;

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    full(run)?;
    flaky(run)?;
    fsync(run)
}

// ---- a disk that is full ----

/// A file system of a few megabytes. Only root can make one.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path) -> Result<Self> {
        fs::create_dir(at)?;
        let options = ["-t", "tmpfs", "-o", "size=6m,mode=0700", "tmpfs"];
        project::run(project::command("mount").args(options).arg(at))
            .context("a small file system takes root to mount")?;
        Ok(Self(at.to_owned()))
    }
    fn fill(&self) -> Result<PathBuf> {
        let path = self.0.join("ballast");
        let mut file = File::create(&path)?;
        for size in [1 << 16, 1 << 12, 1 << 9, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        Ok(path)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = project::command("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// What was seen while nothing could be written.
#[derive(Default)]
struct Seen {
    refused: usize,
    others: Vec<String>,
    reads: usize,
    failed_reads: usize,
    kept: Vec<Person>,
    recovery: Option<Duration>,
    code_after: u16,
}

fn full(run: &mut Run<'_>) -> Result<()> {
    let site = Site::with_store("sqlite");
    let small = Small::mount(&site.path("small"))?;
    site.set("store.sqlite.path", "small/countersign.db");
    let host = site.start();
    let seen = run.runtime.block_on(stopped(&host, &small))?;
    let at = ("faults", "R52");
    let told = seen.others.first().map(|first| format!("; {first}")).unwrap_or_default();
    let (refused, others) = (seen.refused, seen.others.len());
    let measured = format!("{refused} refused, {others} others{told}");
    run.report.check(
        at,
        "a full disk: writes are 503 store-unavailable",
        measured,
        refused > 10 && others == 0,
    );
    let measured = format!("{} of {} failed", seen.failed_reads, seen.reads);
    run.report.check(at, "a full disk: reads go on", measured, seen.failed_reads == 0);
    let in_time = seen.recovery.is_some_and(|took| took <= Duration::from_secs(5));
    let measured = seen.recovery.map_or("never".into(), ms);
    run.report.check(at, "room again: writes within 5 s, without a restart", measured, in_time);
    let code = seen.code_after;
    run.report.check(at, "room again: the code that was refused still works", code.to_string(), code == 200);
    // Whatever was acknowledged, at any time, is there after a crash.
    let host = host.kill().start();
    let to = host.address();
    let lost = run.runtime.block_on(async {
        let mut lost = 0;
        for person in &seen.kept {
            lost += usize::from(person.client(to).get("/me").await?.status != 200);
        }
        Ok::<_, anyhow::Error>(lost)
    })?;
    let measured = format!("{lost} of {}", seen.kept.len());
    run.report.check(at, "a crash after it: nothing acknowledged is lost", measured, lost == 0);
    drop(small);
    drop(host);
    Ok(())
}

async fn stopped(host: &Host, small: &Small) -> Result<Seen> {
    let (to, mut seen) = (host.address(), Seen::default());
    let mut person = Person::enrolled(to, "disk").await?;
    let challenge = person.challenge(to).await?;
    seen.kept.push(person.clone());
    let ballast = small.fill()?;
    // What was allocated before is used up first.
    for _ in 0..400 {
        match Person::register(to, "last").await {
            Ok(person) => seen.kept.push(person),
            Err(_) => break,
        }
    }
    let mut client = person.client(to);
    let code = person.code().await?;
    let proof = json!({ "code": code, "challenge": challenge });
    for n in 0..30 {
        let (path, body) =
            if n % 2 == 0 { ("/mfa/totp/verify", proof.clone()) } else { ("/mfa/totp/enroll", json!({})) };
        let mut asking = if n % 2 == 0 { Client::new(to) } else { person.client(to) };
        let reply = asking.post(path, &body).await?;
        if reply.status == 503 && reply.problem() == "store-unavailable" {
            seen.refused += 1;
        } else {
            seen.others.push(format!("{path}: {}", reply.label()));
        }
        for path in ["/me", "/mfa/status"] {
            seen.reads += 1;
            seen.failed_reads += usize::from(client.get(path).await?.status != 200);
        }
    }
    fs::remove_file(ballast)?;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        let status = client.post("/mfa/totp/enroll", &json!({})).await?.status;
        if status == 201 {
            seen.recovery = Some(begun.elapsed());
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // A new one if time has passed it by; the point is that the refusals have spent none and locked nothing.
    let mut status = Client::new(to).post("/mfa/totp/verify", &proof).await?.status;
    if status == 401 {
        let proof = json!({ "code": person.code().await?, "challenge": challenge });
        status = Client::new(to).post("/mfa/totp/verify", &proof).await?.status;
    }
    seen.code_after = status;
    Ok(seen)
}

// ---- a store that fails now and then ----

fn flaky(run: &mut Run<'_>) -> Result<()> {
    let tries = run.scale.of(1000, 60);
    let site = Site::with_store("memory");
    site.add_plugin(&fixture("store-faulty"));
    let armed = site.path("armed");
    site.edit(|config| {
        let mut table = Table::new();
        table["fault"] = value("flaky");
        table["armed_by"] = value(armed.display().to_string());
        config["store"]["use"] = value("faulty");
        config["store"]["faulty"] = Item::Table(table);
    });
    let host = site.start();
    let to = host.address();
    let (skipped, failed, guesses) = run.runtime.block_on(async {
        let mut people = Vec::new();
        for _ in 0..4 {
            people.push(Person::enrolled(to, "flaky").await?);
        }
        // One that is open already: of a few logins through such a store none may get as far as that.
        let mut challenges = Vec::new();
        for person in &people {
            let reply = Client::new(to).post("/login", &person.credentials()).await?;
            challenges.push(reply.member("challenge"));
        }
        fs::write(&armed, "")?;
        let (mut skipped, mut failed) = (0, 0);
        for n in 0..tries {
            let at = n % people.len();
            let reply = Client::new(to).post("/login", &people[at].credentials()).await?;
            skipped += usize::from(![202, 503].contains(&reply.status));
            failed += usize::from(reply.status == 503);
            challenges[at] = reply.member("challenge").or(challenges[at].take());
        }
        // Guesses are counted, or they are not evaluated.
        let mut evaluated = 0;
        for (person, challenge) in people.iter().zip(&challenges) {
            let body = json!({ "code": person.wrong_code()?, "challenge": challenge });
            for _ in 0..40 {
                let reply = Client::new(to).post("/mfa/totp/verify", &body).await?;
                evaluated += usize::from(reply.problem() == "invalid-code");
            }
        }
        fs::remove_file(&armed)?;
        Ok::<_, anyhow::Error>((skipped, failed, evaluated))
    })?;
    let at = ("faults", "R53");
    run.report.check(
        at,
        "3 of 10 calls of the store fail: no login without its second factor",
        format!("{skipped} of {tries}, {failed} refused"),
        skipped == 0 && failed > 0,
    );
    run.report.check(
        at,
        "3 of 10 fail: at most 5 guesses are evaluated for each of 4 accounts",
        guesses.to_string(),
        guesses <= 20 && guesses > 0,
    );
    host.stop();
    Ok(())
}

// ---- what the disk was asked to keep before each acknowledgement ----

/// The trace of a running process. Dropping it lets the process go.
struct Trace {
    strace: Child,
    file: PathBuf,
}

impl Trace {
    fn attach(process: u32, file: &Path) -> Result<Self> {
        ensure!(
            project::which("strace").is_some(),
            "strace is not installed; `cargo xtask siege` installs it"
        );
        let calls = "trace=fdatasync,fsync,pwrite64,write,writev,sendto,sendmsg,recvfrom,read,ftruncate";
        let mut command: Command = project::command("strace");
        command.args([
            "-f",
            "-y",
            "-s",
            "64",
            "-e",
            calls,
            "-e",
            "signal=none",
            "-p",
            &process.to_string(),
            "-o",
        ]);
        let strace = command.arg(file).stderr(Stdio::null()).spawn()?;
        let own = Self { strace, file: file.to_owned() };
        // It is attached when every thread shows in the status of the process.
        let status = format!("/proc/{process}/status");
        for _ in 0..200 {
            if fs::read_to_string(&status)?
                .lines()
                .any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
            {
                std::thread::sleep(Duration::from_millis(300));
                return Ok(own);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        anyhow::bail!("strace does not get hold of the host")
    }
    fn end(mut self) -> Result<String> {
        let tracer = rustix::process::Pid::from_child(&self.strace);
        rustix::process::kill_process(tracer, rustix::process::Signal::INT)?;
        self.strace.wait()?;
        Ok(String::from_utf8_lossy(&fs::read(&self.file)?).into_owned())
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}

fn fsync(run: &mut Run<'_>) -> Result<()> {
    let writes = run.scale.of(500, 20);
    let host = Site::with_store("sqlite").start();
    let to = host.address();
    let client = run
        .runtime
        .block_on(async { Ok::<_, anyhow::Error>(Person::register(to, "trace").await?.client(to)) })?;
    let trace = Trace::attach(host.server().id(), &host.site().path("trace"))?;
    let acknowledged = run.runtime.block_on(sequence(client, writes))?;
    let text = trace.end()?;
    let Order { answers, unsynced } = order(&text);
    let measured = format!("{} of {answers} answers, {acknowledged} acknowledged", unsynced.len());
    let told = unsynced.first().map(|first| format!("; first: {first}")).unwrap_or_default();
    run.report.check(
        ("faults", "R51"),
        "every acknowledgement follows an fdatasync that began after its write: 0 do not",
        format!("{measured}{told}"),
        unsynced.is_empty() && answers >= acknowledged && acknowledged == writes,
    );
    host.stop();
    Ok(())
}

/// One write after the other: the order of system calls is then that of the requests.
async fn sequence(mut client: Client, writes: usize) -> Result<usize> {
    let mut acknowledged = 0;
    for _ in 0..writes {
        acknowledged += usize::from(client.post("/mfa/totp/enroll", &json!({})).await?.status == 201);
    }
    Ok(acknowledged)
}

struct Order {
    answers: usize,
    unsynced: Vec<String>,
}

/// Reads the trace: since the request before, the log was written, and then synced, before the answer left.
fn order(trace: &str) -> Order {
    let (mut dirty, mut written, mut syncing) = (false, false, Vec::<(String, bool)>::new());
    let mut order = Order { answers: 0, unsynced: Vec::new() };
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(char::is_whitespace) else { continue };
        let call = call.trim_start();
        let of_log = call.contains("countersign.db");
        if call.starts_with("pwrite64(") && of_log {
            (dirty, written) = (true, true);
            // What is being synced by others does not promise this write.
            syncing.iter_mut().for_each(|(_, covers)| *covers = false);
        } else if (call.starts_with("fdatasync(") || call.starts_with("fsync(")) && of_log {
            if call.ends_with("= 0") {
                dirty = false;
            } else if call.contains("<unfinished") {
                syncing.push((thread.to_owned(), true));
            }
        } else if call.contains("sync resumed>") && call.ends_with("= 0") {
            if let Some(at) = syncing.iter().position(|(by, _)| by == thread) {
                let (_, covers) = syncing.remove(at);
                dirty &= !covers;
            }
        } else if call.contains("HTTP/1.1 201") {
            order.answers += 1;
            if dirty || !written {
                order.unsynced.push(line.chars().take(120).collect());
            }
            written = false;
        }
    }
    order
}
