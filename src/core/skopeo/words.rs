//! skopeo's words in one line of ours.

use std::time::Duration;

/// Why skopeo did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Failure {
    kind: Kind,
    why: String,
}

/// What may be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Another try may succeed: the network, a busy registry.
    Passing,
    /// It stays so.
    Lasting,
    /// The policy refused the image: signatures.
    Refused,
}

/// What a refusal says (containers/image 5, `signature`), and what we say of it.
const REFUSALS: [(&str, &str); 9] = [
    ("A signature was required, but no signature exists", "it is not signed"),
    ("Invalid GPG signature", "its signature is not by the key that is wanted"),
    ("cryptographic signature verification failed", "its signature is not by the key that is wanted"),
    ("Signature for identity", "its signature is for another name or tag"),
    ("Signature for digest", "its signature is for an image with another digest"),
    ("unrecognized signature format", "its signature is damaged"),
    (
        "sigstore disabled",
        "its sigstore signature can't be checked, because Debian built this skopeo without sigstore; use an OpenPGP key, or \
         fetch with a skopeo that has it",
    ),
    ("is rejected by policy", "the policy rejects it"),
    ("None of the signatures were accepted", "none of its signatures is right"),
];

/// What does not pass by waiting.
const LASTING: [&str; 19] = [
    "manifest unknown",
    "name unknown",
    "unauthorized",
    "authentication required",
    "denied",
    "forbidden",
    "no such file",
    "no such host",
    "server gave HTTP response",
    "x509:",
    "tls: ",
    "does not exist",
    "does not resolve to an image ID",
    "no image found",
    "identifier is not an image",
    "unsupported",
    "invalid reference format",
    "from registry 404",
    "stopped after 10 redirects",
];

impl Failure {
    /// It did not end in time.
    pub(super) fn slow(limit: Duration) -> Self {
        let why = format!("it took longer than {} s; --timeout gives it more", limit.as_secs());
        Self { kind: Kind::Passing, why }
    }

    /// Whether another try may succeed.
    pub fn may_pass(&self) -> bool {
        self.kind == Kind::Passing
    }

    /// Whether a policy or a missing signature is the reason.
    pub fn is_refusal(&self) -> bool {
        self.kind == Kind::Refused
    }
}

/// The reason in what skopeo printed on standard error: its last fatal line (logrus), else its last line.
pub(super) fn told(stderr: &str) -> Failure {
    let lines = || stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    let fatal = lines().rfind(|line| line.contains("level=fatal"));
    let message = fatal.and_then(message).or_else(|| lines().next_back().map(str::to_owned));
    let message = message.unwrap_or_else(|| "skopeo ended without a word".to_owned());
    if let Some(reason) = message.split("Source image rejected: ").nth(1) {
        return Failure { kind: Kind::Refused, why: refusal(reason) };
    }
    let lasting = LASTING.iter().any(|part| message.contains(part));
    Failure { kind: if lasting { Kind::Lasting } else { Kind::Passing }, why: message }
}

/// What stands in `msg="…"`, unquoted.
fn message(line: &str) -> Option<String> {
    let quoted = line.split_once("msg=")?.1;
    let Some(quoted) = quoted.strip_prefix('"') else { return Some(quoted.to_owned()) };
    let mut text = String::new();
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => match chars.next()? {
                'n' | 't' => text.push(' '),
                other => text.push(other),
            },
            other => text.push(other),
        }
    }
    Some(text)
}

fn refusal(reason: &str) -> String {
    let known = REFUSALS.iter().find(|(part, _)| reason.contains(part));
    let Some((part, told)) = known else { return reason.to_owned() };
    let detail = match *part {
        "Invalid GPG signature" => {
            let fingerprint = reason.split("Fingerprint:\"").nth(1).and_then(|rest| rest.split('"').next());
            fingerprint.filter(|text| !text.is_empty()).map(|text| format!("by {text}"))
        }
        "Signature for identity" => reason
            .split("Signature for identity ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next())
            .map(str::to_owned),
        "Signature for digest" => reason
            .split("Signature for digest ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next())
            .map(str::to_owned),
        _ => None,
    };
    match detail {
        Some(detail) => format!("{told}: {detail}"),
        None => (*told).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fatal_line_becomes_a_reason() {
        let fatal =
            |text: &str| format!("progress\ntime=\"2026-01-01T00:00:00Z\" level=fatal msg=\"{text}\"\n");
        for (said, kind, why) in [
            (
                fatal("Source image rejected: A signature was required, but no signature exists"),
                Kind::Refused,
                "it is not signed",
            ),
            (
                fatal(
                    "Source image rejected: Invalid GPG signature: gpgme.Signature{Fingerprint:\\\"AB\\\", X}",
                ),
                Kind::Refused,
                "its signature is not by the key that is wanted: by AB",
            ),
            (
                fatal("Source image rejected: Signature for identity h/n:v1 is not accepted"),
                Kind::Refused,
                "its signature is for another name or tag: h/n:v1",
            ),
            (
                fatal("Source image rejected: Signature for digest sha256:ab does not match"),
                Kind::Refused,
                "its signature is for an image with another digest: sha256:ab",
            ),
            (
                fatal("Source image rejected: Running image docker://h/n is rejected by policy."),
                Kind::Refused,
                "the policy rejects it",
            ),
            (
                fatal("Source image rejected: Debian-local change: sigstore disabled"),
                Kind::Refused,
                "its sigstore signature can't be checked, because Debian built this skopeo without sigstore; use an OpenPGP \
                 key, or fetch with a skopeo that has it",
            ),
            (fatal("reading \\\"x\\\": unauthorized: no"), Kind::Lasting, "reading \"x\": unauthorized: no"),
            (
                fatal("invalid status code from registry 404"),
                Kind::Lasting,
                "invalid status code from registry 404",
            ),
            (
                fatal("invalid status code from registry 500"),
                Kind::Passing,
                "invalid status code from registry 500",
            ),
            (fatal("Get x: connection refused"), Kind::Passing, "Get x: connection refused"),
            ("Error: something\nlast".to_owned(), Kind::Passing, "last"),
            (String::new(), Kind::Passing, "skopeo ended without a word"),
        ] {
            assert_eq!(told(&said), Failure { kind, why: why.to_owned() });
        }
    }
}
