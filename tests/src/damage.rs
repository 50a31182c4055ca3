//! Libraries that nobody could build: a sound one, and what befell it.
use std::{fs, path::Path};

/// What can befall a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// Nothing is left of it.
    Emptied,
    /// The end is missing. Opened without a look at its bounds, it is a SIGBUS.
    CutInHalf,
    /// Less than an ELF header is left.
    CutToTheMagic,
    /// It was something else all along.
    Text,
    /// Made for another machine (ELF `e_machine`).
    OtherMachine,
    /// Its section table points beyond its end.
    SectionsBeyondTheEnd,
}

impl Damage {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::Emptied,
        Self::CutInHalf,
        Self::CutToTheMagic,
        Self::Text,
        Self::OtherMachine,
        Self::SectionsBeyondTheEnd,
    ];

    /// Writes what it makes of the library `sound` to `broken`.
    pub fn inflict(self, sound: &Path, broken: &Path) {
        let mut bytes = fs::read(sound).unwrap_or_else(|error| panic!("{}: {error}", sound.display()));
        match self {
            Self::Emptied => bytes.clear(),
            Self::CutInHalf => bytes.truncate(bytes.len() / 2),
            Self::CutToTheMagic => bytes.truncate(4),
            Self::Text => bytes = b"#!/bin/sh\necho not a library\n".repeat(100),
            // Offsets in an Elf64_Ehdr (System V ABI): e_machine 0x12, e_shoff 0x28.
            Self::OtherMachine => bytes[0x12..0x14].copy_from_slice(&0xf3_u16.to_le_bytes()),
            Self::SectionsBeyondTheEnd => bytes[0x28..0x30].copy_from_slice(&(u64::MAX / 2).to_le_bytes()),
        }
        fs::write(broken, bytes).expect("the damaged library can be written");
    }
}
