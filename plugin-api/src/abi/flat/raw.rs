//! Flat data as no writer of ours makes it: spans that overlap, lie in any order, or leave the buffer.
use super::{Flat, Row, Span};

/// The bytes of a row: tag and code, two numbers, two spans.
const ROW: usize = 20;

impl Flat {
    /// The number of rows, the rows, and what is left as the buffer.
    pub(crate) fn raw(bytes: &[u8]) -> Self {
        let mut flat = Self::default();
        let Some((count, rest)) = bytes.split_first() else { return flat };
        let (rows, buffer) = rest.split_at((usize::from(*count) * ROW).min(rest.len() / ROW * ROW));
        for row in rows.chunks_exact(ROW) {
            let short = |at: usize| u32::from(u16::from_le_bytes([row[at], row[at + 1]]));
            let span = |at| Span { start: short(at), len: short(at + 2) };
            let (x, y) = (u64::from(short(8)), u64::from(short(10)));
            // All ones stand for the largest number that there is: what overflows does so there.
            let wide = |n| if n == 0xffff { u64::MAX } else { n };
            let code = u32::from_le_bytes([row[4], row[5], row[6], row[7]]);
            let tag = short(0) | short(2) << 16;
            flat.rows.push(Row { tag, code, x: wide(x), y: wide(y), a: span(12), b: span(16) });
        }
        flat.bytes.extend_from_copy_slice(buffer);
        flat
    }

    /// The bytes of the buffer.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }
}
