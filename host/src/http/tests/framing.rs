//! What is a request, where it ends, and how large it may be.
use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Writes all of `request` while reading the answer to its end.
async fn exchange(request: &[u8]) -> String {
    let (client, _) = pipe_of(patient(), 1 << 10);
    let (mut read, mut write) = tokio::io::split(client);
    let mut answer = Vec::new();
    let sending = async {
        let _ = write.write_all(request).await;
        let _ = write.shutdown().await;
    };
    let _ = tokio::join!(sending, read.read_to_end(&mut answer));
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn requests_follow_one_another_on_a_connection() {
    let one = format!("POST /length HTTP/1.1\r\n{JSON}Content-Length: 2\r\n\r\n{{}}");
    let two = "GET /which HTTP/1.1\r\nHost: a\r\n\r\n";
    let chunked = format!(
        "POST /length HTTP/1.1\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n1\r\n}}\r\n0\r\n\r\n"
    );
    let all = [&one, two, "\r\n", &one, &chunked].concat();
    let answers = exchange(all.as_bytes()).await;
    assert_eq!(statuses(&answers), ["200"; 4], "{answers}");
    assert_eq!(answers.matches("\r\n\r\n2").count(), 3, "{answers}");
}

#[tokio::test]
async fn what_two_readers_could_frame_differently_is_refused_and_nothing_after_it_is_read() {
    let inner = "GET /which HTTP/1.1\r\nHost: a\r\n\r\n";
    let chunks = format!("0\r\n\r\n{inner}");
    for framing in [
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", chunks.len()),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {}\r\n", chunks.len()),
        "content-length:0\r\ntransfer-encoding:chunked\r\n".into(),
        "Content-Length: 5\r\nContent-Length: 5\r\n".into(),
        "Content-Length: 5\r\nContent-Length: 6\r\n".into(),
        "Content-Length: 5, 5\r\n".into(),
        "Content-Length: +5\r\n".into(),
        "Content-Length: -1\r\n".into(),
        "Content-Length: 0x5\r\n".into(),
        "Content-Length: 99999999999999999999\r\n".into(),
        "Content-Length : 5\r\n".into(),
        "Transfer-Encoding: gzip, chunked\r\n".into(),
        "Transfer-Encoding: chunked, chunked\r\n".into(),
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n".into(),
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n".into(),
        "Transfer-Encoding: identity\r\n".into(),
        "Transfer-Encoding: xchunked\r\n".into(),
        "Transfer-Encoding: \u{b}chunked\r\n".into(),
        "Transfer-Encoding : chunked\r\n".into(),
        "Transfer-Encoding:\r\n chunked\r\n".into(),
        "X: y\r\n Transfer-Encoding: chunked\r\n".into(),
    ] {
        let request = format!("POST /length HTTP/1.1\r\n{JSON}{framing}\r\n{chunks}");
        let answers = exchange(request.as_bytes()).await;
        assert_eq!(statuses(&answers), ["400"], "{framing:?}: {answers}");
    }
    let old = format!("POST /length HTTP/1.0\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n{chunks}");
    assert_eq!(statuses(&exchange(old.as_bytes()).await), ["400"]);
}

#[tokio::test]
async fn a_second_request_is_checked_for_its_framing_like_the_first() {
    let first = format!("POST /length HTTP/1.1\r\n{JSON}Content-Length: 40\r\n\r\n");
    let body = format!("[\"{}\"]", "Content-Length: 1".repeat(2) + "12");
    assert_eq!(body.len(), 40);
    let good = format!("POST /length HTTP/1.1\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    let bad = good.replace("Transfer", "Content-Length: 5\r\nTransfer");
    let answers = exchange([first.as_str(), &body, &good].concat().as_bytes()).await;
    assert_eq!(statuses(&answers), ["200", "200"], "the length of the first is not the second's: {answers}");
    let answers = exchange([first.as_str(), &body, &bad].concat().as_bytes()).await;
    assert_eq!(statuses(&answers), ["200", "400"], "{answers}");
}

#[tokio::test]
async fn a_chunked_body_ends_its_connection() {
    let chunked = format!("POST /length HTTP/1.1\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    let answers = exchange([chunked.as_str(), &chunked].concat().as_bytes()).await;
    assert_eq!(statuses(&answers), ["200"], "{answers}");
    assert!(answers.contains("connection: close"), "{answers}");
}

#[tokio::test]
async fn a_head_has_at_most_16_kib() {
    let head = |fill: usize| {
        let start = "GET /which HTTP/1.1\r\nHost: a\r\nX: ";
        format!("{start}{}\r\n\r\n", "x".repeat(fill - start.len() - 4))
    };
    assert_eq!(statuses(&exchange(head(MAX_HEAD).as_bytes()).await), ["200"]);
    assert_eq!(statuses(&exchange(head(MAX_HEAD + 1).as_bytes()).await), ["431"]);
    let many = format!("GET /which HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(101));
    assert_eq!(statuses(&exchange(many.as_bytes()).await), ["431"]);
}

/// How many bytes the server takes of `start` and an endless repetition of `then`, and what it answers.
async fn taken(start: String, then: &str) -> (usize, String) {
    let (client, serving) = pipe(patient());
    let (mut read, mut write) = tokio::io::split(client);
    let answer = tokio::spawn(async move {
        let mut answer = Vec::new();
        let _ = read.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    });
    let sending = async {
        let mut count = 0;
        let mut next = start.as_bytes();
        while let Ok(wrote) = write.write(next).await {
            count += wrote;
            next = if wrote < next.len() { &next[wrote..] } else { then.as_bytes() };
            if serving.is_finished() {
                break;
            }
        }
        count
    };
    let count = sending.await;
    drop(write);
    (count, answer.await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn an_endless_request_is_closed_before_64_kib() {
    let head = format!("POST /length HTTP/1.1\r\n{JSON}Transfer-Encoding: chunked\r\n");
    let padded = format!("{head}X: {}\r\n\r\n", "x".repeat(15 << 10));
    let chunk = format!("400\r\n{}\r\n", "x".repeat(0x400));
    for (name, start, then, status) in [
        ("large chunks", &padded, chunk.as_str(), &["413"][..]),
        ("one chunk", &format!("{padded}40000000\r\n"), "xxxxxxxx", &["413"]),
        ("small chunks", &padded, "1\r\nx\r\n", &["413"]),
        ("chunk extensions", &padded, "1;a=b;c=d;e=f;g=h\r\nx\r\n", &["400"]),
        (
            "an announced length",
            &head.replace("Transfer-Encoding: chunked", "Content-Length: 1073741824\r\n"),
            "x",
            &["413"],
        ),
        ("headers", &head, "X: y\r\n", &["431"]),
        ("one header", &head, "x", &["431"]),
        ("a path", &"GET /".into(), "x", &["431"]),
        ("empty lines", &String::new(), "\r\n", &["431"]),
    ] {
        let (count, answer) = taken(start.clone(), then).await;
        assert!(count <= 64 << 10, "{name}: {count} bytes");
        assert_eq!(statuses(&answer), status, "{name}: {answer}");
        if status == ["413"] {
            assert!(answer.contains("urn:countersign:problem:too-large"), "{name}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_send_only_what_is_wanted() {
    for (length, answered) in [(2, &["100", "200"][..]), (1 << 20, &["413"])] {
        let head =
            format!("POST /length HTTP/1.1\r\n{JSON}Expect: 100-continue\r\nContent-Length: {length}\r\n");
        let answers = exchange(format!("{head}\r\n{{}}").as_bytes()).await;
        assert_eq!(statuses(&answers), answered, "{length}: {answers}");
    }
}
