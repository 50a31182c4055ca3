//! Mail servers that are slow, gone or hostile, and text that would like to be a header.
mod server;

use super::Run;
use crate::{
    http::Client,
    people::{PASSWORD, Person},
    place::host,
    report::{ms, quantile},
};
use anyhow::Result;
use countersign_test_kit::{Host, Site};
use serde_json::json;
use server::{Manner, serve};
use std::{
    net::SocketAddr,
    sync::atomic::Ordering::SeqCst,
    time::{Duration, Instant},
};
use tokio::time::sleep;

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    tarpit(run)?;
    greylisting(run)?;
    injection(run)
}

fn host_with(server: SocketAddr) -> Host {
    let site = Site::with_store("memory");
    site.set("delivery.use", "smtp");
    site.set("delivery.smtp.url", format!("smtp://{server}"));
    site.set("delivery.smtp.from", "Countersign <no-reply@example.org>");
    site.start()
}

// ---- slow ----

async fn login(to: SocketAddr, person: &mut Person) -> Result<Duration> {
    let challenge = person.challenge(to).await?;
    let body = json!({ "code": person.code().await?, "challenge": challenge });
    let reply = Client::new(to).post("/mfa/totp/verify", &body).await?.expect(200)?;
    Ok(reply.took)
}

fn tarpit(run: &mut Run<'_>) -> Result<()> {
    let (logins, sends) = (run.scale.of(200, 6), run.scale.of(1100, 20));
    let (server, post) = run.runtime.block_on(serve(Manner::Tarpit))?;
    let host = host_with(server);
    let to = host.address();
    let (before, beside, times, refused) = run.runtime.block_on(async {
        let mut before = Vec::new();
        for _ in 0..logins {
            let mut person = Person::enrolled(to, "before").await?;
            before.push(login(to, &mut person).await?);
        }
        // Three links and three resets for each account.
        let (mut times, mut refused) = (Vec::new(), 0);
        let mut people = Vec::new();
        for n in 0..sends {
            if n % 6 == 0 {
                people.push(Person::register(to, "sends").await?);
            }
            let path = if n % 2 == 0 { "/mfa/magic-link/send" } else { "/password/reset" };
            let email = &people[n / 6].email;
            let reply = Client::new(to).post(path, &json!({ "email": email })).await?;
            anyhow::ensure!(
                reply.status == 202 || reply.problem() == "delivery-unavailable",
                "{}",
                reply.text()
            );
            refused += usize::from(reply.status == 503);
            times.push(reply.took);
        }
        let mut beside = Vec::new();
        for _ in 0..logins {
            let mut person = Person::enrolled(to, "beside").await?;
            beside.push(login(to, &mut person).await?);
        }
        Ok::<_, anyhow::Error>((before, beside, times, refused))
    })?;
    let (at, judged) = (("mail", "R55"), run.scale.judges_time());
    let slowest = quantile(&times, 0.99);
    run.report.timed(
        at,
        judged,
        "a tarpit: who asks for mail is answered in 500 ms (p99)",
        ms(slowest),
        slowest <= Duration::from_millis(500),
    );
    let (usual, now) = (quantile(&before, 0.99), quantile(&beside, 0.99));
    run.report.timed(
        at,
        judged,
        "a tarpit: a login by TOTP takes as long as before, and a tenth (p99)",
        format!("{} and {}", ms(usual), ms(now)),
        now <= usual.mul_f64(1.1).max(usual + Duration::from_millis(1)),
    );
    if sends > 1000 {
        run.report.check(
            at,
            "a tarpit: 1,000 messages wait, notices among them, and more are refused",
            format!("{refused} of {sends} refused"),
            refused > 0 && sends - refused <= 1000,
        );
    }
    let connections = post.connections.load(SeqCst);
    run.report.check(at, "a tarpit: it was tried", format!("{connections} connections"), connections > 0);
    host.kill();
    Ok(())
}

// ---- greylisting ----

fn greylisting(run: &mut Run<'_>) -> Result<()> {
    let (first, waits) = if run.scale.judges_time() { (3, 15 + 30 + 60) } else { (1, 15) };
    for manner in [Manner::Greylists(first), Manner::Refuses] {
        let (server, post) = run.runtime.block_on(serve(manner))?;
        let host = host_with(server);
        let to = host.address();
        let begun = Instant::now();
        run.runtime.block_on(async {
            let person = Person::register(to, "grey").await?;
            Client::new(to).post("/password/reset", &json!({ "email": person.email })).await?.expect(202)?;
            sleep(Duration::from_secs(waits + 6)).await;
            Ok::<_, anyhow::Error>(())
        })?;
        let taken = run.runtime.block_on(async { post.taken.lock().await.clone() });
        let tries = post.tries.load(SeqCst);
        let at = ("mail", "R56");
        if manner == Manner::Refuses {
            run.report.check(
                at,
                "refused for good: tried once",
                format!("{tries} tries, {} delivered", taken.len()),
                tries == 1 && taken.is_empty(),
            );
        } else {
            let when = taken.first().map_or("never".into(), |(_, when)| {
                format!("after {} s", when.duration_since(begun).as_secs())
            });
            run.report.check(
                at,
                format!("refused {first} times for now: delivered, once"),
                format!("{} copies in {tries} tries, {when}", taken.len()),
                taken.len() == 1 && tries == first + 1,
            );
        }
        host.kill();
    }
    Ok(())
}

// ---- headers ----

const PAYLOADS: [&str; 10] = [
    "\r\nBcc: evil@example.net",
    "\nSubject: other",
    "\r\n.\r\nMAIL FROM:<x@example.net>\r\n",
    "\0",
    "=?utf-8?q?=0D=0ABcc:_evil@example.net?=",
    "\u{2028}Bcc: x",
    "a, evil@example.net",
    "<evil@example.net>",
    "\"quoted\" (comment)",
    "\u{85}X: y",
];

fn injection(run: &mut Run<'_>) -> Result<()> {
    let count = run.scale.of(500, 20);
    let host = host("memory");
    let to = host.address();
    let (registered, mails) = run.runtime.block_on(async {
        let mut registered = 0;
        for n in 0..count {
            let payload = PAYLOADS[n % PAYLOADS.len()];
            let email = if n % 2 == 0 {
                format!("a{n}{payload}@example.org")
            } else {
                format!("b{n}@example.org{payload}")
            };
            let body = json!({ "email": email, "password": PASSWORD, "session": "bearer" });
            registered += usize::from(Client::new(to).post("/register", &body).await?.status < 400);
            for path in ["/password/reset", "/mfa/magic-link/send"] {
                Client::new(to).post(path, &json!({ "email": email })).await?;
            }
        }
        // Names that end up inside a mail.
        let mut person = Person::register(to, "label").await?;
        let mut client = person.client(to);
        for payload in PAYLOADS {
            let begun = client.post("/mfa/totp/enroll", &json!({ "label": format!("x{payload}") })).await?;
            let Some(enrollment) = begun.member("enrollment") else { continue };
            person.secret = begun.member("secret").unwrap_or_default();
            let code = person.code().await?;
            client.post("/mfa/totp/verify", &json!({ "code": code, "enrollment": enrollment })).await?;
        }
        sleep(Duration::from_secs(2)).await;
        Ok::<_, anyhow::Error>((registered, host.site().mailbox().mails()))
    })?;
    let head = |raw: &str| raw.split("\r\n\r\n").next().unwrap_or_default().to_ascii_lowercase();
    let odd = mails.iter().filter(|mail| {
        let head = head(&mail.raw);
        let lines = |name: &str| head.lines().filter(|line| line.starts_with(name)).count();
        lines("subject:") != 1
            || lines("to:") != 1
            || lines("from:") != 1
            || lines("bcc:") + lines("x:") > 0
            || mail.to.contains("evil")
    });
    let odd = odd.count();
    let at = ("mail", "R57");
    run.report.check(
        at,
        format!("{count} addresses that would be more than one: none gets an account"),
        format!("{registered} made"),
        registered == 0,
    );
    run.report.check(
        at,
        "one subject, one sender, one recipient in each mail",
        format!("{odd} of {} have others", mails.len()),
        odd == 0 && !mails.is_empty(),
    );
    host.stop();
    Ok(())
}
