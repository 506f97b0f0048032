//! `ALL_PROCESS_CAPABILITIES`: what the target's kernel knows, told by its version. The stated set is that of Linux 5.9, to
//! which none was added up to 6.18. Runtimes differ about a name that the kernel lacks: runc warns, crun fails.

use anyhow::Result;
use camino::Utf8Path;

use crate::exports::brought::{Brought, Config};
use crate::exports::template;
use crate::prepare::Target;
use crate::settings::values::CAPABILITIES;

/// A directory for each kernel, named by its release.
const MODULES: &str = "usr/lib/modules";
/// What templates call the capabilities.
const VARIABLE: &str = "ALL_PROCESS_CAPABILITIES";

/// Releases of Linux, and how many of [`CAPABILITIES`] they know; in front of them 37.
const KNOWN: [(Version, usize); 3] = [((5, 9), 41), ((5, 8), 40), ((3, 16), 38)];

/// A kernel's version.
type Version = (u32, u32);

/// The capabilities of the oldest kernel that the target has, or the stated set when it tells of none. `warnings` tell when
/// a template gets fewer than the stated set.
///
/// # Errors
/// When the target can't be looked at.
pub(super) fn capabilities(
    target: &dyn Target,
    brought: &Brought,
    warnings: &mut Vec<String>,
) -> Result<&'static [&'static str]> {
    let names = target.names(Utf8Path::new(MODULES))?;
    let Some(oldest) = names.iter().filter_map(|name| version(name)).min() else { return Ok(&CAPABILITIES) };
    let known = known(oldest);
    let used = matches!(&brought.config, Some(Config::Template(text)) if template::names(text, VARIABLE));
    if used && known.len() < CAPABILITIES.len() {
        warnings.push(format!(
            "{VARIABLE} has the {} capabilities of Linux {}.{}, the oldest kernel in /{MODULES} of the target",
            known.len(),
            oldest.0,
            oldest.1
        ));
    }
    Ok(known)
}

fn known(version: Version) -> &'static [&'static str] {
    let count = KNOWN.iter().find(|(since, _)| version >= *since).map_or(37, |(_, count)| *count);
    &CAPABILITIES[..count]
}

/// The first two numbers of a release: `6.1.0-18-amd64`, `5.10-rc1`.
fn version(release: &str) -> Option<Version> {
    let (major, rest) = release.split_once('.')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    Some((major.parse().ok()?, rest[..digits].parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_knows_what_there_was_when_it_was_made() {
        for (release, last) in [
            ("3.10.0-1160.el7.x86_64", "CAP_BLOCK_SUSPEND"),
            ("3.16.0", "CAP_AUDIT_READ"),
            ("4.18.0-553.el8_10.x86_64", "CAP_AUDIT_READ"),
            ("5.8.0-1", "CAP_BPF"),
            ("5.9-rc1", "CAP_CHECKPOINT_RESTORE"),
            ("6.1.0-18-amd64", "CAP_CHECKPOINT_RESTORE"),
            ("7.0", "CAP_CHECKPOINT_RESTORE"),
        ] {
            assert_eq!(version(release).map(|version| known(version).last()), Some(Some(&last)), "{release}");
        }
        for release in ["extra", "6", "6.x", ".1"] {
            assert_eq!(version(release), None, "{release}");
        }
    }
}
