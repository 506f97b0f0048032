//! Machine architectures by their one name in images (GOARCH) and by their number in ELF files.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An architecture that images and hosts are made for, by its GOARCH name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Architecture(&'static Known);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Known {
    name: &'static str,
    /// As `SCMP_ARCH_…` of the runtime specification, and the architectures whose calls the same kernel takes.
    seccomp: &'static [&'static str],
    /// `e_machine`, 64-bit, little-endian.
    elf: (u16, bool, bool),
}

static KNOWN: [Known; 10] = [
    Known {
        name: "amd64",
        seccomp: &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        elf: (62, true, true),
    },
    Known { name: "arm64", seccomp: &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"], elf: (183, true, true) },
    Known { name: "arm", seccomp: &["SCMP_ARCH_ARM"], elf: (40, false, true) },
    Known { name: "386", seccomp: &["SCMP_ARCH_X86"], elf: (3, false, true) },
    Known { name: "ppc64le", seccomp: &["SCMP_ARCH_PPC64LE"], elf: (21, true, true) },
    Known { name: "s390x", seccomp: &["SCMP_ARCH_S390X", "SCMP_ARCH_S390"], elf: (22, true, false) },
    Known { name: "riscv64", seccomp: &["SCMP_ARCH_RISCV64"], elf: (243, true, true) },
    Known { name: "loong64", seccomp: &["SCMP_ARCH_LOONGARCH64"], elf: (258, true, true) },
    Known {
        name: "mips64le",
        seccomp: &["SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL", "SCMP_ARCH_MIPSEL64N32"],
        elf: (8, true, true),
    },
    Known { name: "mipsle", seccomp: &["SCMP_ARCH_MIPSEL"], elf: (8, false, true) },
];

/// Not an architecture that we know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("architecture {text:?} is not known; known are {}", KNOWN.each_ref().map(|known| known.name).join(", "))]
pub struct UnknownArchitecture {
    text: String,
}

impl Architecture {
    /// The GOARCH name.
    pub fn as_str(self) -> &'static str {
        self.0.name
    }

    /// `SCMP_ARCH_…`: itself first, then those whose system calls the same kernel takes.
    pub fn seccomp(self) -> &'static [&'static str] {
        self.0.seccomp
    }

    /// The architecture that an ELF file is for, told from its first 20 bytes (elf(5), `Elf64_Ehdr`); `None` for
    /// another file or another architecture.
    pub fn of_elf(header: &[u8]) -> Option<Self> {
        if header.len() < 20 || &header[..4] != b"\x7fELF" {
            return None;
        }
        let (wide, little) = (header[4] == 2, header[5] == 1);
        let machine = [header[18], header[19]];
        let machine = if little { u16::from_le_bytes(machine) } else { u16::from_be_bytes(machine) };
        KNOWN.iter().find(|known| known.elf == (machine, wide, little)).map(Self)
    }
}

impl FromStr for Architecture {
    type Err = UnknownArchitecture;

    fn from_str(text: &str) -> Result<Self, UnknownArchitecture> {
        let known = KNOWN.iter().find(|known| known.name == text);
        known.map(Self).ok_or_else(|| UnknownArchitecture { text: text.to_owned() })
    }
}

impl TryFrom<String> for Architecture {
    type Error = UnknownArchitecture;

    fn try_from(text: String) -> Result<Self, UnknownArchitecture> {
        text.parse()
    }
}

impl From<Architecture> for String {
    fn from(architecture: Architecture) -> Self {
        architecture.as_str().to_owned()
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_is_for_its_own_architecture() {
        let header = std::fs::read("/proc/self/exe").unwrap();
        let own = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        assert_eq!(Architecture::of_elf(&header).unwrap().as_str(), own);
        assert_eq!(Architecture::of_elf(b"#!/bin/sh\nexit 0 # not ELF"), None);
    }

    #[test]
    fn an_unknown_name_lists_the_known() {
        let error = "vax".parse::<Architecture>().unwrap_err().to_string();
        assert!(error.starts_with("architecture \"vax\" is not known; known are amd64, arm64"), "{error}");
    }
}
