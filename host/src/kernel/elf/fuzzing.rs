use super::{Le, SHT_NOBITS, inspect};
use object::{
    elf::FileHeader64,
    read::elf::{FileHeader, ProgramHeader, SectionHeader},
};

/// A file that claims to be a library: what passes is whole, and needs the C library alone.
pub fn elf(bytes: &[u8]) {
    let Ok((_, needed)) = inspect(bytes) else { return };
    for name in &needed {
        assert!(!name.contains('/') && super::SYSTEM.contains(&name.as_str()), "{name}");
    }
    // As long as the last byte that is spoken of; a byte less is truncated.
    let header = FileHeader64::<Le>::parse(bytes).expect("it passed");
    let segments = header.program_headers(Le, bytes).expect("it passed").iter();
    let sections = header.section_headers(Le, bytes).expect("it passed").iter();
    let segments = segments.filter(|s| s.p_filesz(Le) > 0).map(|s| s.p_offset(Le) + s.p_filesz(Le));
    let sections = sections.filter(|s| s.sh_type(Le) != SHT_NOBITS && s.sh_size(Le) > 0);
    let end = segments.chain(sections.map(|s| s.sh_offset(Le) + s.sh_size(Le))).max();
    if let Some(cut) = end.and_then(|end| usize::try_from(end).ok()?.checked_sub(1)) {
        assert!(cut < bytes.len(), "what passes is whole");
        assert!(inspect(&bytes[..cut]).is_err(), "what is cut is refused");
    }
}
