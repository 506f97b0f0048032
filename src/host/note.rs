//! The note in the program's own file that tells compose which records it reads (docs/format.md, "The launcher's
//! ELF note").

use sysctr_core::launcher_note::{OWNER, RECORD_VERSION};
use sysctr_core::record::VERSION;

/// An ELF note as it lies in the file (gabi, "Note Section"): the owner is padded to four bytes.
#[repr(C)]
struct Note {
    name_size: u32,
    value_size: u32,
    kind: u32,
    owner: [u8; 8],
    version: u32,
}

#[expect(
    unsafe_code,
    reason = "naming a section is called unsafe; nothing but note readers looks into this one"
)]
#[unsafe(link_section = ".note.sysctr")]
#[used]
static NOTE: Note = Note {
    name_size: OWNER.len() as u32,
    value_size: 4,
    kind: RECORD_VERSION,
    owner: {
        let mut padded = [0; 8];
        let mut at = 0;
        while at < OWNER.len() {
            padded[at] = OWNER[at];
            at += 1;
        }
        padded
    },
    version: VERSION,
};

#[cfg(test)]
mod tests {
    #[test]
    fn this_very_program_carries_the_note() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let version = sysctr_core::launcher_note::record_version(&own);
        assert_eq!(version, Some(sysctr_core::record::VERSION));
    }
}
