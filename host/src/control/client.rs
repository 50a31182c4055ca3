//! The command line's end of the control socket.
use super::{MAX_ANSWER, Operation, Refused, SOCKET, data_dir::Folder};
use serde::Deserialize;
use serde_json::Value;
use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};
use zeroize::Zeroizing;

/// Longer than the host takes for anything it is asked.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Done(Value),
    Refused(Refused),
}

/// Asks the host that runs on a data directory; `None` when none runs. The outer error says why the host that
/// runs could not be asked.
pub(crate) fn ask(data_dir: &Path, operation: &Operation) -> Result<Option<Result<Value, Refused>>, String> {
    let failed = |error: io::Error| format!("{}: {error}", data_dir.join(SOCKET).display());
    let connected = Folder::open(data_dir).and_then(|folder| UnixStream::connect(folder.short(SOCKET)));
    let stream = match connected {
        Ok(stream) => stream,
        Err(error) => match error.kind() {
            // Nothing there, or left there by a host that was killed.
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => return Ok(None),
            io::ErrorKind::PermissionDenied => {
                return Err(format!("{}; run this as the user that runs the host", failed(error)));
            }
            _ => return Err(failed(error)),
        },
    };
    let line = exchange(&stream, operation).map_err(failed)?;
    let answer = serde_json::from_str(&line)
        .map_err(|_| failed(io::Error::other("the host broke off without an answer; its log may say why")))?;
    Ok(Some(match answer {
        Answer::Done(done) => Ok(done),
        Answer::Refused(refused) => Err(refused),
    }))
}

fn exchange(mut stream: &UnixStream, operation: &Operation) -> io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = Zeroizing::new(serde_json::to_vec(operation)?);
    request.push(b'\n');
    stream.write_all(&request)?;
    let mut answer = String::new();
    BufReader::new(stream.take(MAX_ANSWER)).read_line(&mut answer)?;
    Ok(answer)
}
