//! How long clients may take, on a clock that moves when everybody waits.
use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Virtual seconds until the server closes a connection on which `sent` came and nothing more.
async fn closed_after(limits: ServerLimits, sent: &str) -> (u64, String) {
    let begin = tokio::time::Instant::now();
    let (mut client, serving) = pipe_of(limits, 1 << 10);
    client.write_all(sent.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    drop(client);
    serving.await.unwrap();
    (begin.elapsed().as_secs(), answer)
}

#[tokio::test(start_paused = true)]
async fn slow_clients_are_closed_when_their_time_is_up() {
    let limits = ServerLimits::default();
    for (sent, secs, status) in [
        ("", 10, &[][..]),
        ("GET /which HTT", 10, &[]),
        ("GET /which HTTP/1.1\r\nHost: a\r\n", 10, &[]),
        ("GET /which HTTP/1.1\r\nHost: a\r\n\r\n", 75, &["200"]),
        ("GET /which HTTP/1.1\r\nHost: a\r\n\r\nGET /", 10, &["200"]),
        (
            "POST /length HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
            10,
            &["408"],
        ),
        (
            "POST /length HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1",
            10,
            &["408"],
        ),
    ] {
        let (after, answer) = closed_after(limits, sent).await;
        assert_eq!((after, statuses(&answer)), (secs, status.to_vec()), "{sent:?}");
    }
}

/// Asks, and reads the whole answer.
async fn ask(client: &mut DuplexStream, path: &str, length: usize) -> String {
    client.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
    // Whoever takes its time to read is no less a client.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut answer = Vec::new();
    let is_whole = |answer: &[u8]| {
        let head = answer.windows(4).position(|end| end == b"\r\n\r\n");
        head.is_some_and(|head| answer.len() == head + 4 + length)
    };
    while !is_whole(&answer) {
        assert_ne!(client.read_buf(&mut answer).await.unwrap(), 0, "{}", answer.escape_ascii());
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_was_silent_for_a_while_is_as_good_as_before() {
    let (mut client, serving) = pipe_of(ServerLimits::default(), 1 << 10);
    for silent in [0, 1, 2, 30, 65, 0] {
        assert_eq!(statuses(&ask(&mut client, "/page", 20 << 10).await), ["200"], "before {silent} s");
        assert_eq!(statuses(&ask(&mut client, "/which", 3).await), ["200"]);
        tokio::time::sleep(Duration::from_secs(silent)).await;
    }
    let begin = tokio::time::Instant::now();
    serving.await.unwrap();
    assert_eq!(begin.elapsed().as_secs(), 70, "75 s after the last answer, 5 of which the client took");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_takes_a_kilobyte() {
    let (_client, server) = duplex(1);
    let (_keep, closing) = watch::channel(false);
    let (peer, limits) = ("127.0.0.1".parse().unwrap(), ServerLimits::default());
    let serving = connection::serve(server, peer, limits, Door::new(112), routes().apps, closing);
    assert!(size_of_val(&serving) <= 1 << 10, "{} bytes", size_of_val(&serving));
}

#[tokio::test(start_paused = true)]
async fn a_crumb_now_and_then_does_not_prolong_a_head() {
    let begin = tokio::time::Instant::now();
    let (mut client, serving) = pipe(ServerLimits::default());
    while client.write_all(b"G").await.is_ok() && !serving.is_finished() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(begin.elapsed() < Duration::from_secs(12), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_its_answer_is_not_waited_for() {
    let begin = tokio::time::Instant::now();
    let (mut client, serving) = pipe_of(ServerLimits::default(), 1 << 10);
    client.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    serving.await.unwrap();
    assert_eq!(begin.elapsed().as_secs(), 10);
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_its_answer_in_crumbs_is_not_served_for_ever() {
    let begin = tokio::time::Instant::now();
    let (mut client, serving) = pipe_of(ServerLimits::default(), 1 << 10);
    client.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    while !serving.is_finished() && begin.elapsed().as_secs() < 1000 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let _ = client.read_u8().await;
    }
    assert!(begin.elapsed().as_secs() < 100, "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_handler_takes_the_time_it_takes() {
    let (mut client, server) = duplex(1 << 10);
    let (_keep, closing) = watch::channel(false);
    let routes = routes();
    let address = "127.0.0.1".parse().unwrap();
    tokio::spawn(connection::serve(
        server,
        address,
        ServerLimits::default(),
        Door::new(112),
        routes.apps,
        closing,
    ));
    client.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    routes.begun.notified().await;
    tokio::time::sleep(HOUR).await;
    routes.go.notify_one();
    let mut answer = [0; 12];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

/// So many connections that begin with `sent`, through one door; how long one more then waits for its answer.
async fn beside(crowd: usize, sent: &str) -> Duration {
    let (_keep, closing) = watch::channel(false);
    let (door, routes) = (Door::new(112), routes());
    let connect = || {
        let (client, server) = duplex(1 << 10);
        let (door, apps, closing) = (door.clone(), routes.apps.clone(), closing.clone());
        tokio::spawn(connection::serve(server, [127, 0, 0, 1].into(), patient(), door, apps, closing));
        client
    };
    let mut clients = Vec::new();
    for _ in 0..crowd {
        let mut client = connect();
        client.write_all(sent.as_bytes()).await.unwrap();
        clients.push(client);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begin = tokio::time::Instant::now();
    let mut client = connect();
    client.write_all(b"GET /which HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    begin.elapsed()
}

#[tokio::test(start_paused = true)]
async fn only_whole_requests_that_are_not_answered_keep_others_outside() {
    let outside = Duration::from_millis(100);
    for (crowd, sent, wait) in [
        (111, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n", Duration::ZERO),
        (112, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n", outside),
        (500, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n", outside),
        (500, "G", Duration::ZERO),
        (500, "POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{", Duration::ZERO),
        (500, "GET /which HTTP/1.1\r\nHost: a\r\n\r\n", Duration::ZERO),
        (500, "GET /large HTTP/1.1\r\nHost: a\r\n\r\n", Duration::ZERO),
    ] {
        let waited = beside(crowd, sent).await;
        // A timer of the test's clock is up to a millisecond late.
        assert!(
            waited >= wait && waited <= wait + Duration::from_millis(2),
            "{crowd} × {sent:?}: {waited:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_client_has_a_second_to_read_why() {
    let begin = tokio::time::Instant::now();
    let (mut client, serving) = pipe_of(patient(), 1 << 10);
    let head = format!("POST /length HTTP/1.1\r\n{JSON}Content-Length: 20000\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!((statuses(&answer), begin.elapsed().as_secs()), (vec!["413"], 0), "{answer}");
    client.write_all(&[b'x'; 4 << 10]).await.expect("what is on its way is still taken");
    serving.await.unwrap();
    assert_eq!(begin.elapsed().as_secs(), 1);
}
