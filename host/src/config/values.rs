//! Values as they are written: each function reads one kind, or says what it should have been.
use super::{
    read::expected,
    tree::{Node, Value},
};
use countersign_plugin_api::{Size, Span};
use std::{
    fmt::Display,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

pub(super) fn text(node: &Node) -> Result<String, String> {
    match node.text() {
        Some("") => Err("must not be empty".into()),
        Some(text) => Ok(text.to_owned()),
        None => Err(expected("a string", node)),
    }
}

pub(super) fn flag(node: &Node) -> Result<bool, String> {
    if let Value::Flag(flag) = node.value { Ok(flag) } else { Err(expected("true or false", node)) }
}

/// A string that its type can read.
pub(super) fn parsed<T: FromStr>(node: &Node) -> Result<T, String>
where
    T::Err: Display,
{
    let text = node.text().ok_or_else(|| expected("a string", node))?;
    text.parse().map_err(|error: T::Err| error.to_string())
}

/// A duration within bounds; as text too, the way a user writes it.
pub(super) fn duration(node: &Node, (least, most): (&str, &str)) -> Result<Duration, String> {
    let text = node.text().ok_or_else(|| expected("a string like \"30s\" or \"12h\"", node))?;
    let bound = |text: &str| text.parse().map(|Span(bound)| bound);
    let Span(duration) = text.parse()?;
    if duration < bound(least)? {
        return Err(format!("`{text}` is too short: the least is \"{least}\""));
    }
    if duration > bound(most)? {
        return Err(format!("`{text}` is too long: the most is \"{most}\""));
    }
    Ok(duration)
}

/// A size within bounds, in KiB.
pub(super) fn kibibytes(node: &Node, (least, most): (&str, &str)) -> Result<u32, String> {
    let text = node.text().ok_or_else(|| expected("a string like \"64 MiB\"", node))?;
    let bound = |text: &str| text.parse().map(|Size(bound)| bound);
    let Size(size) = text.parse()?;
    if size < bound(least)? {
        return Err(format!("`{text}` is too small: the least is \"{least}\""));
    }
    if size > bound(most)? {
        return Err(format!("`{text}` is too large: the most is \"{most}\""));
    }
    u32::try_from(size >> 10).map_err(|_| format!("`{text}` is too large"))
}

pub(super) fn whole(node: &Node, within: RangeInclusive<u32>) -> Result<u32, String> {
    let Value::Whole(number) = node.value else { return Err(expected("an integer", node)) };
    u32::try_from(number)
        .ok()
        .filter(|number| within.contains(number))
        .ok_or_else(|| format!("must be from {} to {}, and is {number}", within.start(), within.end()))
}

/// A path; a relative one starts from the folder of the configuration file.
pub(super) fn path(node: &Node, folder: &Path) -> Result<PathBuf, String> {
    let text = text(node)?;
    if text.contains('\0') {
        return Err("is not a path: it contains a NUL".into());
    }
    Ok(folder.join(text))
}

/// A file in a folder that another key names.
pub(super) fn file_name(node: &Node) -> Result<String, String> {
    let text = text(node)?;
    if text.contains(['/', '\0']) || text == "." || text == ".." {
        return Err(format!("`{text}` must be the bare name of a file in plugin_dir"));
    }
    Ok(text)
}

pub(super) fn sha256(node: &Node) -> Result<[u8; 32], String> {
    let text = node.text().ok_or_else(|| expected("a string of 64 hexadecimal digits", node))?;
    let wrong = || "must be 64 hexadecimal digits, as `countersign plugin install` writes them".to_owned();
    let mut sum = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return Err(wrong());
    }
    for (byte, digits) in sum.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |at: usize| char::from(digits[at]).to_digit(16).and_then(|d| u8::try_from(d).ok());
        *byte = digit(0).zip(digit(1)).map(|(high, low)| high << 4 | low).ok_or_else(wrong)?;
    }
    Ok(sum)
}
