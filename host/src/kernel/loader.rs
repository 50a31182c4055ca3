//! Opens plugin libraries: the second address of unsafe code.
#![allow(unsafe_code, reason = "address 2: dlopen")]
use super::{elf, placement};
use countersign_plugin_api::{
    kernel::Loaded,
    manifest::{API_VERSION, Manifest},
};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use sha2::{Digest, Sha256};
use std::{
    ffi::c_void,
    fs::File,
    io::{self, Write},
    os::fd::AsRawFd,
    path::Path,
};

/// A library that has been read and judged, but not opened: nothing of it has run.
pub struct Candidate {
    bytes: Vec<u8>,
    sha256: [u8; 32],
    manifest: Manifest,
    needs: Vec<String>,
}

impl Candidate {
    /// Reads and judges a library: placement, pin, ELF bounds, manifest. The error is a sentence about "it".
    pub fn read(path: &Path, pin: Option<&[u8; 32]>) -> Result<Self, String> {
        let bytes = placement::read(path)?;
        Self::judge(bytes, pin)
    }

    /// Judges bytes that are already in hand.
    pub fn judge(bytes: Vec<u8>, pin: Option<&[u8; 32]>) -> Result<Self, String> {
        let sha256: [u8; 32] = Sha256::digest(&bytes).into();
        if let Some(pin) = pin
            && *pin != sha256
        {
            return Err(format!(
                "its SHA-256 is {}, and the configuration pins {}; if you have replaced it, run `countersign plugin install`",
                hex(&sha256),
                hex(pin)
            ));
        }
        let (manifest, needs) = elf::inspect(&bytes)?;
        if manifest.panic != "unwind" {
            return Err(format!(
                "it was built with panic = \"{}\", and a panic in it would end the host; build it with panic = \"unwind\"",
                manifest.panic
            ));
        }
        if !manifest.is_compatible() {
            return Err(format!(
                "it was built for interface {} and this host has {API_VERSION}; build it against countersign-plugin-api {API_VERSION}",
                manifest.api
            ));
        }
        Ok(Self { bytes, sha256, manifest, needs })
    }

    /// What it says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The hash of its bytes.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// The libraries that it is linked against.
    pub fn needs(&self) -> &[String] {
        &self.needs
    }

    /// The bytes that were judged.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Opens it, from a private copy of the very bytes that were judged. It is never closed again.
    pub fn open(self) -> Result<Loaded, String> {
        let copy =
            sealed(&self.bytes).map_err(|error| format!("no private copy of it can be made: {error}"))?;
        let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
        // SAFETY: opening runs the library's constructors, which is why its bytes had to match a pin that
        // the operator set; the ELF bounds were checked, and the copy cannot change.
        let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_LOCAL) }
            .map_err(|error| format!("it cannot be opened: {error}"))?;
        // The loader takes a path that it knows for the library that it knows, and a closed descriptor's number is
        // given out again: the next plugin would come back as this one. So this one stays open.
        std::mem::forget(copy);
        // SAFETY: only the symbol's address is taken, as a pointer to its first bytes.
        let symbol = unsafe { library.get::<*const c_void>(Loaded::SYMBOL.as_bytes()) }
            .map_err(|_| "it does not export the symbol of a plugin; use export_plugin!".to_owned())?;
        let address = symbol.as_raw_ptr().cast_const();
        // SAFETY: the symbol is the header that export_plugin! exports, and the library is leaked below.
        let loaded = unsafe { Loaded::attach(address) };
        std::mem::forget(library);
        let loaded =
            loaded.map_err(|why| format!("it does not fit this host (interface {API_VERSION}): {why}"))?;
        if loaded.name() != self.manifest.name {
            return Err(format!(
                "its manifest names it `{}`, and its code `{}`",
                self.manifest.name,
                loaded.name()
            ));
        }
        Ok(loaded)
    }
}

/// A file of these bytes that nobody can find by a name, and nobody can change any more, not even we: overwriting a
/// mapped library in place is a crash at best.
fn sealed(bytes: &[u8]) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut copy = File::from(memfd_create("countersign-plugin", flags)?);
    copy.write_all(bytes)?;
    // Nobody has mapped it yet, so FUTURE_WRITE forbids as much as WRITE does, which the kernel refuses with EBUSY
    // for as long as it moves one of the pages about.
    fcntl_add_seals(&copy, SealFlags::FUTURE_WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(copy)
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    hex_digits(bytes).collect()
}

/// The same, one by one.
pub(super) fn hex_digits(bytes: &[u8]) -> impl Iterator<Item = char> {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits.map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::OpenOptions, os::unix::fs::FileExt};

    #[test]
    fn a_sealed_copy_is_what_it_was_made_of_for_good() {
        let copy = sealed(b"\x7fELF").expect("memory");
        let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
        let again = OpenOptions::new().read(true).write(true).open(&path).expect("its own owner may open it");
        for file in [&copy, &again] {
            for place in [0, 4] {
                let refused = file.write_at(b"x", place).expect_err("sealed");
                assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
            }
            for length in [0, 3, 5] {
                assert_eq!(file.set_len(length).expect_err("sealed").kind(), io::ErrorKind::PermissionDenied);
            }
            fcntl_add_seals(file, SealFlags::empty()).expect_err("no more of them, and none is taken back");
        }
        assert_eq!(std::fs::read(&path).expect("readable"), b"\x7fELF");
    }
}
