//! Records of PAX extended headers (POSIX.1-2017, pax, "pax Extended Header") as layers use them.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

use crate::tree::path::quoted;
use crate::tree::{Mtime, Xattrs};

/// Keys of a global header that would name or measure every entry after it. No writer makes them, and readers
/// disagree about them.
const NEVER_GLOBAL: [&[u8]; 3] = [b"path", b"linkpath", b"size"];

/// What extended headers say about an entry beyond its own header.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Extended {
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) mtime: Option<Mtime>,
    pub(crate) size: Option<u64>,
    pub(crate) xattrs: Xattrs,
    /// GNU sparse format 1.0.
    pub(crate) sparse_1_0: bool,
}

/// Values for all entries that follow ("typeflag g").
#[derive(Debug, Default)]
pub(crate) struct Globals(BTreeMap<Box<[u8]>, Box<[u8]>>);

/// Key and value.
type Record<'a> = (&'a [u8], &'a [u8]);

/// The records of a header.
pub(crate) fn records(mut header: &[u8]) -> impl Iterator<Item = Result<Record<'_>>> {
    std::iter::from_fn(move || {
        if header.is_empty() {
            return None;
        }
        let record = split_record(header);
        header = record.as_ref().map_or(&[][..], |(_, rest)| rest);
        Some(record.map(|(record, _)| record))
    })
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself; and what follows.
fn split_record(header: &[u8]) -> Result<(Record<'_>, &[u8])> {
    let malformed = "its extended header has a malformed record";
    let space = header.iter().position(|&byte| byte == b' ').context(malformed)?;
    let length: usize = std::str::from_utf8(&header[..space])?.parse().context(malformed)?;
    ensure!(length > space + 1 && length <= header.len(), malformed);
    let (record, rest) = header.split_at(length);
    let record = record[space + 1..].strip_suffix(b"\n").context(malformed)?;
    let equals = record.iter().position(|&byte| byte == b'=').context(malformed)?;
    Ok(((&record[..equals], &record[equals + 1..]), rest))
}

impl Globals {
    /// Takes the records of a global header.
    pub(crate) fn take(&mut self, header: &[u8]) -> Result<()> {
        for record in records(header) {
            let (key, value) = record?;
            if NEVER_GLOBAL.contains(&key) || key.starts_with(b"GNU.sparse.") {
                bail!("a global extended header gives every entry the same {}", quoted(key));
            }
            if value.is_empty() {
                self.0.remove(key);
            } else {
                self.0.insert(key.into(), value.into());
            }
        }
        Ok(())
    }

    /// What holds for an entry with the extended header `own`.
    pub(crate) fn extend(&self, own: Option<&[u8]>) -> Result<Extended> {
        let mut extended = Extended::default();
        if own.is_none() && self.0.is_empty() {
            return Ok(extended);
        }
        let mut all: BTreeMap<&[u8], &[u8]> = self.0.iter().map(|(key, value)| (&**key, &**value)).collect();
        for record in records(own.unwrap_or_default()) {
            let (key, value) = record?;
            all.insert(key, value);
        }
        let sparse = (all.get(&b"GNU.sparse.major"[..]), all.get(&b"GNU.sparse.minor"[..]));
        extended.sparse_1_0 = sparse == (Some(&&b"1"[..]), Some(&&b"0"[..]));
        for (key, value) in all {
            // An empty value stands for none, so the entry's own header holds; but an attribute may be empty.
            let named = |error: anyhow::Error| error.context(format!("its {} is not valid", quoted(key)));
            match key {
                b"uid" if !value.is_empty() => extended.uid = Some(number(value).map_err(named)?),
                b"gid" if !value.is_empty() => extended.gid = Some(number(value).map_err(named)?),
                b"size" if !value.is_empty() => extended.size = Some(number(value).map_err(named)?),
                b"mtime" if !value.is_empty() => extended.mtime = Some(time(value).map_err(named)?),
                _ => xattr(key, value, &mut extended.xattrs).map_err(named)?,
            }
        }
        Ok(extended)
    }
}

fn number<N: TryFrom<u64>>(value: &[u8]) -> Result<N> {
    let digits = value.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse::<u64>().ok());
    let number = number.and_then(|number| N::try_from(number).ok());
    number.with_context(|| format!("{} is not a number that fits", quoted(value)))
}

/// `[-]SECONDS[.FRACTION]`; what is finer than a nanosecond is cut off towards the past.
fn time(value: &[u8]) -> Result<Mtime> {
    let wrong = || format!("{} is not a time", quoted(value));
    let text = std::str::from_utf8(value).ok().with_context(wrong)?;
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    ensure!(!whole.is_empty() && digits(whole) && digits(fraction), wrong());
    let seconds: i64 = whole.parse().ok().with_context(wrong)?;
    let mut nanoseconds = 0;
    for place in 0..9 {
        nanoseconds =
            nanoseconds * 10 + u32::from(fraction.as_bytes().get(place).map_or(0, |digit| digit - b'0'));
    }
    let finer = fraction.bytes().skip(9).any(|digit| digit != b'0');
    if !negative {
        return Ok(Mtime { seconds, nanoseconds });
    }
    let back = nanoseconds + u32::from(finer);
    Ok(match back {
        0 => Mtime { seconds: -seconds, nanoseconds: 0 },
        1_000_000_000 => Mtime { seconds: -seconds - 1, nanoseconds: 0 },
        _ => Mtime { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - back },
    })
}

/// Takes an extended attribute, if the record is one: `SCHILY.xattr.NAME` with the bytes themselves, or
/// `LIBARCHIVE.xattr.NAME` with an URL-encoded name and a base64 value, as bsdtar writes beside the former.
fn xattr(key: &[u8], value: &[u8], xattrs: &mut Xattrs) -> Result<()> {
    let (name, value) = if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
        (name.to_vec(), value.to_vec())
    } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
        let name = url_decode(name).context("its name is not URL-encoded")?;
        if xattrs.contains_key(&*name) {
            return Ok(());
        }
        (name, base64(value).context("its value is not base64")?)
    } else {
        return Ok(());
    };
    ensure!(!name.is_empty() && name.len() <= 255 && !name.contains(&0), "no attribute can have that name");
    ensure!(value.len() <= 65536, "an attribute has at most 65536 bytes, this has {}", value.len());
    if is_kept(&name) {
        xattrs.insert(name.into(), value.into());
    }
    Ok(())
}

/// Labels belong to the target's policy, and overlayfs's own attributes would change what a tree means that a host
/// mounts as a layer (docs/decisions.md, "Images").
fn is_kept(name: &[u8]) -> bool {
    let never: [&[u8]; 4] =
        [b"trusted.overlay.", b"user.overlay.", b"user.fuseoverlayfs.", b"trusted.fuseoverlayfs."];
    name != b"security.selinux" && !never.iter().any(|prefix| name.starts_with(prefix))
}

fn url_decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        if *byte == b'%' {
            let pair = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(pair, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*byte);
            rest = after;
        }
    }
    Some(bytes)
}

/// RFC 4648 §4, the padding optional.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0u32, 0);
    let end = text.iter().rposition(|&byte| byte != b'=').map_or(0, |last| last + 1);
    for digit in &text[..end] {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 0xff) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn record(key: &str, value: &[u8]) -> Vec<u8> {
        let body = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
        let length = (1..).find(|digits| (body.len() + digits).to_string().len() == *digits).unwrap();
        [(body.len() + length).to_string().into_bytes(), body].concat()
    }

    fn extend(records: &[(&str, &[u8])]) -> Result<Extended, String> {
        let own: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        Globals::default().extend(Some(&own)).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn times_have_nanoseconds_and_may_lie_before_1970() {
        for (text, seconds, nanoseconds) in [
            ("0", 0, 0),
            ("1700000000.5", 1_700_000_000, 500_000_000),
            ("1.123456789123", 1, 123_456_789),
            ("-1", -1, 0),
            ("-1.25", -2, 750_000_000),
            ("-0.0000000001", -1, 999_999_999),
            ("-1.9999999999", -2, 0),
            ("3.", 3, 0),
        ] {
            assert_eq!(time(text.as_bytes()).unwrap(), Mtime { seconds, nanoseconds }, "{text}");
        }
        for wrong in ["", "x", "1e3", "--1", "+1", ".5", "99999999999999999999"] {
            time(wrong.as_bytes()).unwrap_err();
        }
    }

    #[test]
    fn attributes_of_both_spellings_are_read_as_bytes() {
        let value = b"\x01\0\n=\xff";
        let both = extend(&[
            ("SCHILY.xattr.security.capability", value),
            ("LIBARCHIVE.xattr.security.capability", b"b3RoZXI="),
            ("LIBARCHIVE.xattr.user.a%3db", b"AQAKPf8"),
            ("SCHILY.xattr.security.selinux", b"label"),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.user.empty", b""),
        ])
        .unwrap();
        let xattrs: Vec<_> = both.xattrs.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        assert_eq!(
            xattrs,
            [(&b"security.capability"[..], &value[..]), (b"user.a=b", value), (b"user.empty", b"")]
        );
    }

    #[test]
    fn a_global_header_holds_until_it_is_overridden() {
        let mut globals = Globals::default();
        globals
            .take(&[record("uid", b"7"), record("mtime", b"5"), record("comment", b"x")].concat())
            .unwrap();
        let own = record("uid", b"8");
        let extended = globals.extend(Some(&own)).unwrap();
        assert_eq!((extended.uid, extended.mtime.map(|time| time.seconds)), (Some(8), Some(5)));
        // Empty: neither the global value nor another, so the entry's own header.
        let own = record("uid", b"");
        assert_eq!(globals.extend(Some(&own)).unwrap().uid, None);
        globals.take(&record("uid", b"")).unwrap();
        assert_eq!(globals.extend(None).unwrap().uid, None);
        let error = globals.take(&record("size", b"5")).unwrap_err().to_string();
        assert_eq!(error, "a global extended header gives every entry the same \"size\"");
    }

    #[test]
    fn malformed_records_are_errors() {
        for own in [
            &b"x"[..],
            b"9 a=b\n",
            b"5 a=b\n",
            b"6 a=bc",
            b"5 ab\n",
            b"0 a=b\n",
            b"99999999999999999999 a=b\n",
        ] {
            Globals::default().extend(Some(own)).unwrap_err();
        }
        assert_eq!(
            extend(&[("uid", b"4294967296")]),
            Err("its \"uid\" is not valid: \"4294967296\" is not a number that fits".to_owned())
        );
        assert_eq!(
            extend(&[("LIBARCHIVE.xattr.user.a", b"!")]),
            Err("its \"LIBARCHIVE.xattr.user.a\" is not valid: its value is not base64".to_owned())
        );
    }
}
