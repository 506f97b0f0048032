//! The ELF note by which a launcher tells which records it reads, without being run (docs/format.md, "The launcher's
//! ELF note"). The launcher carries it in a section `.note.sysctr`; here it is found again, in a file for any
//! architecture.

/// The note's owner, with the zero byte that ends it in the file.
pub const OWNER: &[u8; 7] = b"sysctr\0";
/// The note's type: its descriptor is the record version, four bytes in the file's byte order.
pub const RECORD_VERSION: u32 = 1;

const PT_NOTE: u32 = 4;

/// The newest record version that the launcher in `elf` reads: the bytes of a whole ELF file of any class and byte
/// order. `None` for anything that is not a launcher, a damaged file included.
pub fn record_version(elf: &[u8]) -> Option<u32> {
    let file = File::new(elf)?;
    file.note_segments().find_map(|(notes, align)| file.find(notes, align))
}

/// An ELF file as far as notes need it: gabi, "ELF Header" and "Program Header".
struct File<'a> {
    bytes: &'a [u8],
    wide: bool,
    little: bool,
}

impl<'a> File<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        let class = *bytes.get(4)?;
        let order = *bytes.get(5)?;
        let known = bytes.starts_with(b"\x7fELF") && matches!((class, order), (1 | 2, 1 | 2));
        known.then_some(Self { bytes, wide: class == 2, little: order == 1 })
    }

    /// An unsigned number of `size` bytes.
    fn number(&self, at: usize, size: usize) -> Option<u64> {
        let field = self.bytes.get(at..at.checked_add(size)?)?;
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(if self.little { field.iter().rev().fold(0, add) } else { field.iter().fold(0, add) })
    }

    fn offset(&self, at: usize, size: usize) -> Option<usize> {
        usize::try_from(self.number(at, size)?).ok()
    }

    fn word(&self, at: usize) -> Option<u32> {
        u32::try_from(self.number(at, 4)?).ok()
    }

    /// Where the segments of notes lie, each with its alignment.
    fn note_segments(&self) -> impl Iterator<Item = (std::ops::Range<usize>, usize)> {
        let (table, entry, count, address) = if self.wide { (32, 54, 56, 8) } else { (28, 42, 44, 4) };
        let table = self.offset(table, address).unwrap_or(usize::MAX);
        let entry = self.offset(entry, 2).unwrap_or(0);
        let count = self.offset(count, 2).unwrap_or(0);
        (0..count).filter_map(move |index| self.note_segment(table.checked_add(index * entry)?))
    }

    fn note_segment(&self, header: usize) -> Option<(std::ops::Range<usize>, usize)> {
        let (offset, size, align, address) = if self.wide { (8, 32, 48, 8) } else { (4, 16, 28, 4) };
        // No field of the header lies further than its last, the alignment.
        header.checked_add(align + address)?;
        if self.word(header)? != PT_NOTE {
            return None;
        }
        let start = self.offset(header + offset, address)?;
        let end = start.checked_add(self.offset(header + size, address)?)?;
        let align = if self.number(header + align, address)? == 8 { 8 } else { 4 };
        (end <= self.bytes.len()).then_some((start..end, align))
    }

    /// The version in a run of notes: gabi, "Note Section".
    fn find(&self, notes: std::ops::Range<usize>, align: usize) -> Option<u32> {
        let mut at = notes.start;
        while at + 12 <= notes.end {
            let (name_size, size, kind) = (self.offset(at, 4)?, self.offset(at + 4, 4)?, self.word(at + 8)?);
            let name = at + 12;
            let value =
                notes.start + (name - notes.start).checked_add(name_size)?.checked_next_multiple_of(align)?;
            let end = value.checked_add(size).filter(|end| *end <= notes.end)?;
            if &self.bytes[name..name + name_size] == OWNER && kind == RECORD_VERSION && size == 4 {
                return self.word(value);
            }
            at = notes.start + (end - notes.start).checked_next_multiple_of(align)?;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of two program headers, PT_LOAD and PT_NOTE, laid out by the words of the specification and not by
    /// the reader's table of offsets.
    fn elf(wide: bool, little: bool, notes: &[u8], align: u64) -> Vec<u8> {
        let number = |value: u64, size: usize| {
            if little {
                value.to_le_bytes()[..size].to_vec()
            } else {
                value.to_be_bytes()[8 - size..].to_vec()
            }
        };
        let address = |value| number(value, if wide { 8 } else { 4 });
        let (header_size, entry_size) = if wide { (64, 56) } else { (52, 32) };
        let start = header_size + 2 * entry_size;
        let mut file = vec![0x7f, b'E', b'L', b'F', 1 + u8::from(wide), 2 - u8::from(little), 1];
        file.resize(16, 0);
        // e_type, e_machine, e_version, e_entry, e_phoff, e_shoff, e_flags
        file.extend([number(2, 2), number(62, 2), number(1, 4)].concat());
        file.extend([address(0), address(header_size), address(0), number(0, 4)].concat());
        // e_ehsize, e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx
        file.extend([header_size, entry_size, 2, 0, 0, 0].iter().flat_map(|value| number(*value, 2)));
        for (kind, offset, size, align) in [(1, 0, start, 4096), (4, start, notes.len() as u64, align)] {
            let sizes = [address(offset), address(0), address(0), address(size), address(size)].concat();
            match wide {
                true => file.extend([number(kind, 4), number(4, 4), sizes, address(align)].concat()),
                false => file.extend([number(kind, 4), sizes, number(4, 4), address(align)].concat()),
            }
        }
        assert_eq!(file.len() as u64, start);
        file.extend(notes);
        file
    }

    fn note(little: bool, owner: &[u8], kind: u32, value: &[u8], align: usize) -> Vec<u8> {
        let word = |value: u32| if little { value.to_le_bytes() } else { value.to_be_bytes() };
        let mut note = [word(owner.len() as u32), word(value.len() as u32), word(kind)].concat();
        note.extend(owner);
        note.resize(note.len().next_multiple_of(align), 0);
        note.extend(value);
        note.resize(note.len().next_multiple_of(align), 0);
        note
    }

    #[test]
    fn a_version_is_found_behind_other_notes_in_every_class_and_byte_order() {
        for (wide, little, align) in
            [(true, true, 4), (true, false, 4), (false, true, 4), (false, false, 4), (true, true, 8)]
        {
            let version = if little { 7u32.to_le_bytes() } else { 7u32.to_be_bytes() };
            let notes = [
                note(little, b"GNU\0", 3, &[0xab; 21], align),
                note(little, b"sysctr\0", 2, b"other", align),
                note(little, OWNER, RECORD_VERSION, &version, align),
            ];
            let file = elf(wide, little, &notes.concat(), align as u64);
            assert_eq!(record_version(&file), Some(7), "wide {wide} little {little} align {align}");
            assert_eq!(record_version(&elf(wide, little, &notes[..2].concat(), align as u64)), None);
        }
    }

    #[test]
    fn a_launcher_cut_anywhere_or_with_any_byte_changed_is_read_without_a_panic() {
        let file = elf(true, true, &note(true, OWNER, RECORD_VERSION, &7u32.to_le_bytes(), 4), 4);
        for end in 0..file.len() {
            assert_eq!(record_version(&file[..end]), None, "cut at {end}");
        }
        for at in 0..file.len() {
            let mut broken = file.clone();
            for value in [0x00, 0x7f, 0xff] {
                broken[at] = value;
                let found = record_version(&broken);
                // Only the version itself (and what a note reader doesn't look at) may change and still be one.
                assert!(
                    found.is_none_or(|version| version == 7 || at >= file.len() - 4),
                    "byte {at}: {found:?}"
                );
            }
        }
        assert_eq!(record_version(b"#!/bin/sh\n"), None);
        assert_eq!(record_version(&std::fs::read("/proc/self/exe").unwrap()), None);
    }
}
