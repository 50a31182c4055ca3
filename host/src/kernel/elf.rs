//! What a library's bytes say before anything of it runs: whether they are whole, what they need, and the
//! manifest.
use countersign_plugin_api::manifest::{Manifest, SECTION};
use object::{
    LittleEndian as Le,
    elf::{
        DT_AUDIT, DT_AUXILIARY, DT_DEPAUDIT, DT_FILTER, DT_NEEDED, DT_NULL, DT_RPATH, DT_RUNPATH, DT_STRTAB,
        DynamicTag, EM_AARCH64, EM_X86_64, ET_DYN, FileHeader64, SHT_NOBITS,
    },
    read::elf::{Dyn, FileHeader, ProgramHeader, SectionHeader},
};

#[cfg(any(fuzzing, test))]
pub(super) mod fuzzing;

/// What a plugin may be linked against: a library that brings others along could bring code that no pin names.
const SYSTEM: &[&str] =
    &["libc.so.6", "libm.so.6", "libgcc_s.so.1", "libpthread.so.0", "libdl.so.2", "librt.so.1", LOADER];
/// The loader itself, by its one name: what only begins like it may be a path.
const LOADER: &str =
    if cfg!(target_arch = "aarch64") { "ld-linux-aarch64.so.1" } else { "ld-linux-x86-64.so.2" };

/// Checks the bytes of a library; reads its manifest, and the names of the libraries that it needs. The error
/// completes "it …" or stands alone.
pub(super) fn inspect(bytes: &[u8]) -> Result<(Manifest, Vec<String>), String> {
    let unreadable = |error: object::Error| format!("it is not a whole ELF file: {error}");
    let header = FileHeader64::<Le>::parse(bytes)
        .map_err(|_| "it is not a 64-bit little-endian ELF file".to_owned())?;
    if header.e_type.get(Le) != ET_DYN {
        return Err("it is not a shared library".into());
    }
    let machine = if cfg!(target_arch = "aarch64") { EM_AARCH64 } else { EM_X86_64 };
    if header.e_machine.get(Le) != machine {
        return Err("it was built for another processor".into());
    }
    whole(header, bytes)?;

    let sections = header.sections(Le, bytes).map_err(unreadable)?;
    let (_, section) = sections.section_by_name(Le, SECTION.as_bytes()).ok_or(
        "it is no Countersign plugin: it has no manifest (export_plugin! writes one into the section .countersign)",
    )?;
    if section.sh_type(Le) == SHT_NOBITS {
        return Err("its manifest is empty".into());
    }
    let manifest =
        Manifest::parse(section.data(Le, bytes).map_err(unreadable)?).map_err(|e| e.to_string())?;
    Ok((manifest, dependencies(header, bytes)?))
}

/// A library that was cut short kills the process by SIGBUS when it is opened.
fn whole(header: &FileHeader64<Le>, bytes: &[u8]) -> Result<(), String> {
    let len = bytes.len() as u64;
    let inside = |start: u64, size: u64| start.checked_add(size).is_some_and(|end| end <= len);
    let truncated = |what: &str| format!("it is truncated: {what} lies beyond its end");
    let segments = header.program_headers(Le, bytes).map_err(|_| truncated("the segment table"))?;
    for segment in segments {
        if !inside(segment.p_offset(Le), segment.p_filesz(Le)) {
            return Err(truncated("a segment"));
        }
    }
    let sections = header.section_headers(Le, bytes).map_err(|_| truncated("the section table"))?;
    for section in sections {
        if section.sh_type(Le) != SHT_NOBITS && !inside(section.sh_offset(Le), section.sh_size(Le)) {
            return Err(truncated("a section"));
        }
    }
    Ok(())
}

fn dependencies(header: &FileHeader64<Le>, bytes: &[u8]) -> Result<Vec<String>, String> {
    let mut needed = Vec::new();
    let unreadable = |error: object::Error| format!("it is not a whole ELF file: {error}");
    let segments = header.program_headers(Le, bytes).map_err(unreadable)?;
    let mut seen = false;
    for segment in segments {
        let Some(entries) = segment.dynamic(Le, bytes).map_err(unreadable)? else { continue };
        // The loader takes the last table of several, looks for it where it is mapped, and reads on to its end.
        let mapped = at_address(segments, bytes, segment.p_vaddr(Le));
        let is_there = mapped.is_some_and(|mapped| {
            usize::try_from(segment.p_offset(Le)).is_ok_and(|offset| mapped.len() == bytes.len() - offset)
        });
        let once = |tag: DynamicTag| entries.iter().filter(|e| e.tag(Le) == tag).count() == 1;
        if seen || !is_there || !once(DT_STRTAB) || !entries.iter().any(|e| e.tag(Le) == DT_NULL) {
            return Err("what it says of itself can be read in two ways (PT_DYNAMIC)".into());
        }
        seen = true;
        let value = |tag: DynamicTag| entries.iter().find(|e| e.tag(Le) == tag).map(|e| e.d_val(Le));
        if value(DT_RUNPATH).or(value(DT_RPATH)).is_some() {
            return Err("it says where to look for libraries (RUNPATH), which no plugin may".into());
        }
        // The loader opens what these name as well, wherever it lies.
        if [DT_FILTER, DT_AUXILIARY, DT_AUDIT, DT_DEPAUDIT].into_iter().any(|tag| value(tag).is_some()) {
            return Err("it names a library to stand in for it or to watch it (FILTER, AUXILIARY, AUDIT), which no plugin may".into());
        }
        let strings = value(DT_STRTAB).and_then(|address| at_address(segments, bytes, address));
        for entry in entries.iter().filter(|e| e.tag(Le) == DT_NEEDED) {
            let name = strings.and_then(|table| text(table, entry.d_val(Le))).unwrap_or("(unreadable)");
            if !SYSTEM.contains(&name) {
                return Err(format!(
                    "it needs the library {name}, and a plugin may need the C library's only"
                ));
            }
            needed.push(name.to_owned());
        }
    }
    Ok(needed)
}

fn at_address<'a, P: ProgramHeader<Endian = Le>>(
    segments: &[P],
    bytes: &'a [u8],
    address: u64,
) -> Option<&'a [u8]> {
    let segment = segments.iter().find(|s| {
        let start: u64 = s.p_vaddr(Le).into();
        let size: u64 = s.p_filesz(Le).into();
        s.p_type(Le) == object::elf::PT_LOAD && (start..start.saturating_add(size)).contains(&address)
    })?;
    let start: u64 = segment.p_offset(Le).into();
    let base: u64 = segment.p_vaddr(Le).into();
    bytes.get(usize::try_from(start.checked_add(address - base)?).ok()?..)
}

fn text(table: &[u8], offset: u64) -> Option<&str> {
    let rest = table.get(usize::try_from(offset).ok()?..)?;
    std::str::from_utf8(rest.split(|b| *b == 0).next()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A library of a few hundred bytes, with a manifest, that needs one other: see `fuzz/corpus/elf`.
    fn seed(name: &str) -> Vec<u8> {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/elf").join(name);
        let mut bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        if cfg!(target_arch = "aarch64") && bytes.len() > 20 {
            bytes[18..20].copy_from_slice(&EM_AARCH64.0.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn a_plugin_needs_the_c_library_by_its_names_and_nothing_else() {
        let (manifest, needed) = inspect(&seed("good")).expect("a plugin");
        assert_eq!((manifest.name.as_str(), needed), ("mfa", vec!["libc.so.6".to_owned()]));
        for (name, why) in [
            ("another-library", "it needs the library libevil.so.1,"),
            ("loader-with-a-path", "it needs the library ld-linux/../libevil.so,"),
            ("executable", "it is not a shared library"),
            ("cut", "it is truncated: the section table"),
            ("header-only", "it is truncated: the segment table"),
            ("text", "it is not a 64-bit"),
        ] {
            let said = inspect(&seed(name)).expect_err(name);
            assert!(said.starts_with(why), "{name}: {said}");
        }
    }

    /// Where the program header of that kind is in the file, and where the dynamic table is.
    fn places(bytes: &[u8]) -> (usize, usize) {
        let header = FileHeader64::<Le>::parse(bytes).expect("a header");
        let segments = header.program_headers(Le, bytes).expect("segments");
        let at =
            segments.iter().position(|s| s.p_type(Le) == object::elf::PT_DYNAMIC).expect("a dynamic table");
        let header_at = usize::try_from(header.e_phoff(Le)).unwrap() + at * 56;
        (header_at, usize::try_from(segments[at].p_offset(Le)).unwrap())
    }

    #[test]
    fn what_the_loader_would_read_otherwise_is_refused() {
        let good = seed("good");
        let (header, table) = places(&good);
        let entries = (table..).step_by(16).take_while(|at| good[*at] != 0).collect::<Vec<_>>();
        let set = |at: usize, tag: DynamicTag| {
            let mut bytes = good.clone();
            bytes[at..at + 8].copy_from_slice(&u64::try_from(tag.0).unwrap().to_le_bytes());
            bytes
        };
        let needed = entries.iter().copied().find(|at| good[*at] == 1).expect("what it needs");
        for tag in [DT_FILTER, DT_AUXILIARY, DT_AUDIT, DT_DEPAUDIT] {
            let said = inspect(&set(needed, tag)).expect_err("a stand-in");
            assert!(said.starts_with("it names a library to stand in for it"), "{tag:?}: {said}");
        }
        let end = entries.last().expect("entries") + 16;
        let mut elsewhere = good.clone();
        elsewhere[header + 16] ^= 8;
        for (what, bytes) in [
            ("two string tables", set(needed, DT_STRTAB)),
            ("no end", set(end, DT_NEEDED)),
            ("elsewhere", elsewhere),
        ] {
            let said = inspect(&bytes).expect_err(what);
            assert!(said.starts_with("what it says of itself can be read in two ways"), "{what}: {said}");
        }
    }
}
