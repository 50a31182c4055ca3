//! Mail servers that are slow, gone or hostile.
use anyhow::Result;
use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::Mutex,
    time::sleep,
};

/// How a server behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// One byte a second, for ever.
    Tarpit,
    /// 451 to the first so many tries of each recipient, and then it takes the mail.
    Greylists(usize),
    /// 554 to every one.
    Refuses,
}

#[derive(Default)]
pub(super) struct Post {
    pub(super) connections: AtomicUsize,
    pub(super) tries: AtomicUsize,
    pub(super) taken: Mutex<Vec<(String, Instant)>>,
}

/// A server on a free port, for as long as the runtime lives.
pub(super) async fn serve(manner: Manner) -> Result<(SocketAddr, Arc<Post>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (address, post) = (listener.local_addr()?, Arc::new(Post::default()));
    let own = post.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            own.connections.fetch_add(1, SeqCst);
            tokio::spawn(converse(stream, manner, own.clone()));
        }
    });
    Ok((address, post))
}

async fn converse(stream: TcpStream, manner: Manner, post: Arc<Post>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    if manner == Manner::Tarpit {
        for byte in b"220 siege ESMTP, in its own time\r\n".iter().cycle() {
            write.write_all(&[*byte]).await?;
            sleep(Duration::from_secs(1)).await;
        }
    }
    write.write_all(b"220 siege ESMTP\r\n").await?;
    let (mut to, mut in_data) = (String::new(), false);
    while let Some(line) = lines.next_line().await? {
        if in_data {
            if line == "." {
                in_data = false;
                post.taken.lock().await.push((to.clone(), Instant::now()));
                write.write_all(b"250 taken\r\n").await?;
            }
            continue;
        }
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let answer: &[u8] = match verb.as_str() {
            "RCPT" => {
                line.clone_into(&mut to);
                let tries = post.tries.fetch_add(1, SeqCst);
                match manner {
                    Manner::Greylists(first) if tries < first => b"451 later\r\n",
                    Manner::Refuses => b"554 never\r\n",
                    _ => b"250 ok\r\n",
                }
            }
            "DATA" => {
                in_data = true;
                b"354 go on\r\n"
            }
            "QUIT" => b"221 bye\r\n",
            _ => b"250 ok\r\n",
        };
        write.write_all(answer).await?;
    }
    Ok(())
}
