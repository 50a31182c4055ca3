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
use std::{ffi::c_void, fs::File, io::Write, os::fd::AsRawFd, path::Path};

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
        let failed = |error: rustix::io::Errno| format!("no private copy of it can be made: {error}");
        let copy = memfd_create("countersign-plugin", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .map_err(failed)?;
        let mut copy = File::from(copy);
        copy.write_all(&self.bytes).map_err(|error| format!("no private copy of it can be made: {error}"))?;
        // Overwriting a mapped library in place is a crash at best: from here on nobody can, not even we.
        let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        fcntl_add_seals(&copy, seals).map_err(failed)?;

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

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}
