//! A disk that is full, that is read-only, and that fails: what is refused meanwhile, and how the host comes back.
use super::Run;
use crate::{http::Client, people::Person, report::ms, trace::Trace};
use anyhow::{Context, Result};
use countersign_test_kit::{Host, Site, project};
use serde_json::json;
use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// What befalls the disk.
struct Trouble {
    name: &'static str,
    /// Which system calls fail on the database, and how; none on a disk that is full, whose calls fail by themselves.
    fails: Option<&'static str>,
    /// Whether it may be that a write has happened that was refused: then the code in it may be spent, and whoever
    /// showed it was told that it is not known.
    in_doubt: bool,
}

const TROUBLES: [Trouble; 4] = [
    Trouble { name: "a full disk", fails: None, in_doubt: false },
    Trouble {
        name: "a file system that has become read-only (EROFS)",
        fails: Some("inject=pwrite64,ftruncate,fallocate,fdatasync,fsync:error=EROFS"),
        in_doubt: false,
    },
    Trouble {
        name: "writes that fail (EIO)",
        fails: Some("inject=pwrite64,fdatasync,fsync:error=EIO"),
        in_doubt: false,
    },
    Trouble {
        name: "writes that are taken and cannot be synced (EIO)",
        fails: Some("inject=fdatasync,fsync:error=EIO"),
        in_doubt: true,
    },
];

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    TROUBLES.iter().try_for_each(|trouble| one(run, trouble))
}

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

fn one(run: &mut Run<'_>, trouble: &Trouble) -> Result<()> {
    let site = Site::with_store("sqlite");
    let small = Small::mount(&site.path("small"))?;
    site.set("store.sqlite.path", "small/countersign.db");
    let host = site.start();
    let seen = run.runtime.block_on(stopped(&host, &small, trouble))?;
    let name = trouble.name;
    let mut judge = |figure: &str, measured: String, holds| {
        run.report.check(("faults", "R52"), format!("{name}: {figure}"), measured, holds);
    };
    let told = seen.others.first().map(|first| format!("; {first}")).unwrap_or_default();
    let (refused, others) = (seen.refused, seen.others.len());
    let measured = format!("{refused} refused, {others} others{told}");
    judge("writes are 503 store-unavailable", measured, refused > 10 && others == 0);
    let measured = format!("{} of {} failed", seen.failed_reads, seen.reads);
    judge("reads go on", measured, seen.failed_reads == 0);
    let in_time = seen.recovery.is_some_and(|took| took <= Duration::from_secs(5));
    let measured = seen.recovery.map_or("never".into(), ms);
    judge("afterwards writes within 5 s, without a restart", measured, in_time);
    let code = seen.code_after;
    if trouble.in_doubt {
        let may = "afterwards the code that was refused works, or was spent by what nobody knew";
        judge(may, code.to_string(), [200, 401].contains(&code));
    } else {
        judge("afterwards the code that was refused still works", code.to_string(), code == 200);
    }
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
    judge("and a crash: nothing acknowledged is lost", format!("{lost} of {}", seen.kept.len()), lost == 0);
    drop(host);
    drop(small);
    Ok(())
}

/// The trouble, as long as it lasts.
enum Lasting {
    Full(PathBuf),
    Failing(Trace),
}

impl Lasting {
    fn begin(host: &Host, small: &Small, trouble: &Trouble) -> Result<Self> {
        let Some(fails) = trouble.fails else { return small.fill().map(Self::Full) };
        let file = host.site().path("trace");
        let mut options = vec!["-e".to_owned(), fails.to_owned()];
        for name in ["countersign.db", "countersign.db-wal"] {
            options.extend(["-P".to_owned(), small.0.join(name).display().to_string()]);
        }
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        Trace::attach(host.server().id(), &file, &options).map(Self::Failing)
    }
    fn end(self) -> Result<()> {
        match self {
            Self::Full(ballast) => fs::remove_file(ballast)?,
            Self::Failing(trace) => drop(trace.end()?),
        }
        Ok(())
    }
}

async fn stopped(host: &Host, small: &Small, trouble: &Trouble) -> Result<Seen> {
    let (to, mut seen) = (host.address(), Seen::default());
    let mut person = Person::enrolled(to, "disk").await?;
    let challenge = person.challenge(to).await?;
    seen.kept.push(person.clone());
    let lasting = Lasting::begin(host, small, trouble)?;
    // What a full disk had given out before is used up first.
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
    lasting.end()?;
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
