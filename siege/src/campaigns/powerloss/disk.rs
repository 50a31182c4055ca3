//! The files of a database as a disk holds them: what is synced for certain, and what may be there.
use anyhow::{Context, Result, bail, ensure};
use rand::{RngExt, rngs::StdRng};
use std::{collections::BTreeMap, fs, path::Path};

/// The database and its log. The index of the log is memory, and gone with the power.
const FILES: [&str; 2] = ["countersign.db", "countersign.db-wal"];
/// A disk writes whole sectors.
const SECTOR: usize = 512;

/// What happened, in order. Files go by their place in [`FILES`].
pub(super) enum Event {
    Write {
        file: usize,
        offset: usize,
        data: Vec<u8>,
    },
    Truncate {
        file: usize,
        length: usize,
    },
    SyncBegins,
    /// Whatever was written before the event of that number is kept.
    Synced {
        file: usize,
        began: usize,
    },
    /// An answer that acknowledges has left.
    Answered,
}

/// The contents of the files.
#[derive(Clone)]
pub(super) struct Disk([Vec<u8>; 2]);

impl Disk {
    pub(super) fn of(dir: &Path) -> Result<Self> {
        let read = |name| fs::read(dir.join(name)).with_context(|| format!("{name} beside its trace"));
        Ok(Self([read(FILES[0])?, read(FILES[1])?]))
    }

    pub(super) fn write(&self, dir: &Path) -> Result<()> {
        for (name, content) in FILES.iter().zip(&self.0) {
            fs::write(dir.join(name), content)?;
        }
        let index = dir.join("countersign.db-shm");
        if index.exists() { Ok(fs::remove_file(index)?) } else { Ok(()) }
    }

    /// What power that fails after these events may leave.
    pub(super) fn after(&self, events: &[Event], random: &mut StdRng) -> Self {
        let mut disk = self.clone();
        for (file, content) in disk.0.iter_mut().enumerate() {
            let synced = |event: &Event| match event {
                Event::Synced { file: of, began } if *of == file => Some(*began),
                _ => None,
            };
            let kept = events.iter().filter_map(synced).max().unwrap_or(0);
            for (at, event) in events.iter().enumerate() {
                match event {
                    Event::Write { file: of, offset, data } if *of == file => {
                        let sectors = data.len() / SECTOR;
                        let length = match random.random_range(0..3) {
                            _ if at < kept => data.len(),
                            0 => data.len(),
                            1 => 0,
                            _ => random.random_range(0..=sectors) * SECTOR,
                        };
                        put(content, *offset, &data[..length]);
                    }
                    Event::Truncate { file: of, length }
                        if *of == file && (at < kept || random.random_bool(0.5)) =>
                    {
                        content.resize(*length, 0);
                    }
                    _ => {}
                }
            }
        }
        disk
    }
}

fn put(content: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    let end = offset + data.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(data);
}

/// Reads a trace.
pub(super) fn events(trace: &str) -> Result<Vec<Event>> {
    let (mut events, mut syncing) = (Vec::new(), BTreeMap::new());
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(char::is_whitespace) else { continue };
        let call = call.trim_start();
        let is_of = |name: &str| call.contains(&format!("/{name}>"));
        let file = FILES.iter().position(|name| is_of(name));
        match (call.split('(').next().unwrap_or_default(), file) {
            ("pwrite64", Some(file)) => {
                let (data, rest) =
                    call.split_once('"').and_then(|(_, rest)| rest.split_once('"')).context("a write")?;
                let numbers =
                    rest.trim_start_matches(", ").split([',', ')', ' ']).filter(|text| !text.is_empty());
                let numbers: Vec<usize> = numbers.map_while(|text| text.parse().ok()).collect();
                let [length, offset] = numbers[..] else { bail!("a write without its place: {rest}") };
                let data = bytes(data)?;
                ensure!(data.len() == length, "a write of {length} bytes shows {}", data.len());
                events.push(Event::Write { file, offset, data });
            }
            ("ftruncate", Some(file)) => {
                let length =
                    call.split_once(">, ").and_then(|(_, rest)| rest.split(')').next()?.parse().ok());
                events.push(Event::Truncate { file, length: length.context("a length")? });
            }
            ("fdatasync" | "fsync", Some(file)) => {
                events.push(Event::SyncBegins);
                if call.ends_with("= 0") {
                    events.push(Event::Synced { file, began: events.len() - 1 });
                } else {
                    syncing.insert(thread, (file, events.len() - 1));
                }
            }
            _ if call.contains("sync resumed>") && call.ends_with("= 0") => {
                if let Some((file, began)) = syncing.remove(thread) {
                    events.push(Event::Synced { file, began });
                }
            }
            _ if call.contains("\"HTTP/1.1 201") => events.push(Event::Answered),
            _ => {}
        }
    }
    Ok(events)
}

/// A string as strace prints it when it holds what cannot be printed.
fn bytes(text: &str) -> Result<Vec<u8>> {
    let digits = text.split("\\x").skip(1);
    digits.map(|pair| u8::from_str_radix(pair, 16).with_context(|| format!("`{pair}` in a write"))).collect()
}
