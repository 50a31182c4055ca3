//! The one shape in which data crosses a library boundary: a flat list of tagged items over one buffer.
//!
//! Whatever it holds (a batch, an answer, a request, a decision), it costs two allocations and is moved
//! whole. Its layout never changes: what is new gets a new tag, and a reader that must understand every tag
//! refuses the ones it does not know.
use crate::secret::Wipe;
use abi_stable::{StableAbi, std_types::RVec};
use std::ops::Range;

#[cfg(any(fuzzing, test))]
mod raw;

#[repr(C)]
#[derive(StableAbi, Debug, Clone, Copy, Default)]
struct Span {
    start: u32,
    len: u32,
}

impl Span {
    fn range(self) -> Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }
}

#[repr(C)]
#[derive(StableAbi, Debug, Clone, Copy)]
struct Row {
    tag: u32,
    code: u32,
    x: u64,
    y: u64,
    a: Span,
    b: Span,
}

/// One item: a tag that says what it is, a small code, two numbers, two byte strings.
#[derive(Clone, Copy, Default)]
pub(crate) struct Item<'a> {
    pub(crate) tag: u32,
    pub(crate) code: u32,
    pub(crate) x: u64,
    pub(crate) y: u64,
    pub(crate) a: &'a [u8],
    pub(crate) b: &'a [u8],
}

impl<'a> Item<'a> {
    pub(crate) fn tag(tag: u32) -> Self {
        Self { tag, ..Self::default() }
    }
    pub(crate) fn bytes(tag: u32, a: &'a [u8]) -> Self {
        Self { tag, a, ..Self::default() }
    }
    pub(crate) fn text(&self) -> &'a str {
        std::str::from_utf8(self.a).unwrap_or_default()
    }
    pub(crate) fn text_b(&self) -> &'a str {
        std::str::from_utf8(self.b).unwrap_or_default()
    }
}

/// A flat list of items. Wiped when dropped, because answers carry secrets in the clear.
#[repr(C)]
#[derive(StableAbi, Clone, Default)]
pub(crate) struct Flat {
    rows: RVec<Row>,
    bytes: RVec<u8>,
}

impl Flat {
    pub(crate) fn with_capacity(items: usize, bytes: usize) -> Self {
        Self { rows: RVec::with_capacity(items), bytes: RVec::with_capacity(bytes) }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn push(&mut self, item: Item<'_>) {
        self.push_parts(&item, &[item.a], item.b.len(), |out| out.copy_from_slice(item.b));
    }

    /// Pushes `item` with its `a` given in parts and its `b` written in place (both fields of `item` itself
    /// are ignored).
    pub(crate) fn push_parts(
        &mut self,
        item: &Item<'_>,
        a: &[&[u8]],
        b_len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) {
        let start = self.bytes.len();
        for part in a {
            self.bytes.extend_from_copy_slice(part);
        }
        let middle = self.bytes.len();
        self.bytes.resize(middle + b_len, 0);
        fill(&mut self.bytes.as_mut_slice()[middle..]);
        let span = |from: usize, to: usize| Span {
            start: u32::try_from(from).expect("a buffer that crosses is below 4 GiB"),
            len: u32::try_from(to - from).expect("a buffer that crosses is below 4 GiB"),
        };
        self.rows.push(Row {
            tag: item.tag,
            code: item.code,
            x: item.x,
            y: item.y,
            a: span(start, middle),
            b: span(middle, middle + b_len),
        });
    }

    pub(crate) fn at(&self, index: usize) -> Option<Item<'_>> {
        self.rows.get(index).map(|row| self.item(row))
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = Item<'_>> + Clone {
        self.rows.iter().map(|row| self.item(row))
    }

    pub(crate) fn find(&self, tag: u32) -> Option<Item<'_>> {
        self.iter().find(|item| item.tag == tag)
    }

    fn item(&self, row: &Row) -> Item<'_> {
        let bytes = self.bytes.as_slice();
        Item {
            tag: row.tag,
            code: row.code,
            x: row.x,
            y: row.y,
            a: &bytes[row.a.range()],
            b: &bytes[row.b.range()],
        }
    }

    /// Rewrites the `b` of one item in its place; `edit` answers the part to keep, or `None` to fail.
    pub(crate) fn rewrite_b(
        &mut self,
        index: usize,
        edit: impl FnOnce(&mut [u8]) -> Option<Range<usize>>,
    ) -> bool {
        let span = self.rows[index].b;
        let Some(keep) = edit(&mut self.bytes.as_mut_slice()[span.range()]) else { return false };
        assert!(keep.start <= keep.end && keep.end <= span.len as usize, "what is kept lies inside");
        #[expect(clippy::cast_possible_truncation, reason = "inside a span of u32 length, asserted above")]
        let kept = Span { start: span.start + keep.start as u32, len: (keep.end - keep.start) as u32 };
        self.rows[index].b = kept;
        true
    }

    pub(crate) fn retag(&mut self, index: usize, tag: u32) {
        self.rows[index].tag = tag;
    }

    pub(crate) fn clear(&mut self) {
        self.rows.clear();
        self.wipe();
        self.bytes.clear();
    }

    /// Whether every item lies inside the buffer: asked once of what another library made, before it is read.
    pub(crate) fn is_sound(&self) -> bool {
        let len = self.bytes.len();
        self.rows.iter().all(|row| row.a.range().end <= len && row.b.range().end <= len)
    }

    fn wipe(&mut self) {
        self.bytes.as_mut_slice().wipe();
    }
}

impl Drop for Flat {
    fn drop(&mut self) {
        self.wipe();
    }
}
