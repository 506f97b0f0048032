//! The framing of GVariant containers (GVariant specification, "Framing Offsets"), in normal form only.

use anyhow::{Result, bail};

/// Bytes of one framing offset in a container of `body` bytes that needs `count` of them.
fn offset_bytes(body: usize, count: usize) -> usize {
    let fits = |size: usize, most: usize| body + count * size <= most;
    match count {
        0 => 0,
        _ if fits(1, 0xff) => 1,
        _ if fits(2, 0xffff) => 2,
        _ if fits(4, 0xffff_ffff) => 4,
        _ => 8,
    }
}

/// Bytes of one framing offset in a container of `length` bytes, offsets included.
fn offset_bytes_of(length: usize) -> usize {
    match length {
        0 => 0,
        1..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8,
    }
}

fn push_offsets(body: &mut Vec<u8>, offsets: &[usize]) {
    let size = offset_bytes(body.len(), offsets.len());
    for offset in offsets {
        body.extend_from_slice(&(*offset as u64).to_le_bytes()[..size]);
    }
}

/// An array of elements of variable size that need no alignment.
pub(super) fn array(elements: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let (mut body, mut ends) = (Vec::new(), Vec::new());
    for element in elements {
        body.extend_from_slice(&element);
        ends.push(body.len());
    }
    push_offsets(&mut body, &ends);
    body
}

/// A tuple. Each member says whether its size is fixed; the last one's end is the tuple's.
pub(super) fn tuple(members: &[Member<'_>]) -> Vec<u8> {
    let (mut body, mut ends) = (Vec::new(), Vec::new());
    for (number, member) in members.iter().enumerate() {
        match member {
            Member::Fixed(bytes) => body.extend_from_slice(bytes),
            Member::Number(number) => {
                body.resize(body.len().next_multiple_of(8), 0);
                body.extend_from_slice(&number.to_be_bytes());
            }
            Member::Variable(bytes) => {
                body.extend_from_slice(bytes);
                if number + 1 < members.len() {
                    ends.push(body.len());
                }
            }
        }
    }
    ends.reverse();
    push_offsets(&mut body, &ends);
    body
}

/// A member of a tuple, serialized. Only a number needs alignment, and it is never the last.
pub(super) enum Member<'a> {
    /// Of a type of fixed size.
    Fixed(&'a [u8]),
    /// Eight bytes, aligned to eight. OSTree's numbers are big-endian.
    Number(u64),
    /// Of a type of variable size.
    Variable(&'a [u8]),
}

/// A text: its bytes and a NUL.
pub(super) fn text(bytes: &[u8]) -> Vec<u8> {
    [bytes, b"\0"].concat()
}

/// The bytes before the NUL.
pub(super) fn read_text(bytes: &[u8]) -> Result<&[u8]> {
    match bytes.split_last() {
        Some((0, text)) if !text.contains(&0) => Ok(text),
        _ => bail!("a text in it does not end in its only NUL"),
    }
}

fn offset_at(bytes: &[u8], at: usize, size: usize) -> Result<usize> {
    let mut whole = [0; 8];
    match bytes.get(at..at + size) {
        Some(raw) => whole[..size].copy_from_slice(raw),
        None => bail!("a framing offset lies outside"),
    }
    Ok(usize::try_from(u64::from_le_bytes(whole))?)
}

/// The elements of an array.
pub(super) fn read_array(bytes: &[u8]) -> Result<Vec<&[u8]>> {
    let size = offset_bytes_of(bytes.len());
    if size == 0 {
        return Ok(Vec::new());
    }
    let table = match bytes.len().checked_sub(size) {
        Some(last) => offset_at(bytes, last, size)?,
        None => bail!("a framing offset lies outside"),
    };
    if table >= bytes.len() || !(bytes.len() - table).is_multiple_of(size) {
        bail!("a table of framing offsets has no whole number of them");
    }
    let mut start = 0;
    let mut elements = Vec::new();
    for at in (table..bytes.len()).step_by(size) {
        let end = offset_at(bytes, at, size)?;
        match bytes[..table].get(start..end) {
            Some(element) => elements.push(element),
            None => bail!("framing offsets are out of order"),
        }
        start = end;
    }
    Ok(elements)
}

/// The variable members of a tuple that begins with `fixed` bytes of members of fixed size.
pub(super) fn read_tuple<const COUNT: usize>(bytes: &[u8], fixed: usize) -> Result<[&[u8]; COUNT]> {
    let size = offset_bytes_of(bytes.len());
    let Some(table) = bytes.len().checked_sub(size * (COUNT - 1)).filter(|table| *table >= fixed) else {
        bail!("it is too short");
    };
    let mut members = [&bytes[..0]; COUNT];
    let mut start = fixed;
    for (number, member) in members.iter_mut().enumerate() {
        let end = match number + 1 < COUNT {
            true => offset_at(bytes, bytes.len() - size * (number + 1), size)?,
            false => table,
        };
        match bytes[..table].get(start..end) {
            Some(found) => *member = found,
            None => bail!("framing offsets are out of order"),
        }
        start = end;
    }
    Ok(members)
}
