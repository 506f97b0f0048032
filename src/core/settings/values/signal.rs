//! Signals by name and number.

use super::{InvalidValue, Signal, invalid};

/// signal(7) for every architecture that the kernel's generic numbers serve (all but alpha, mips, parisc, sparc).
const SIGNALS: [(&str, u8); 31] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// The first and last real-time signal as glibc programs see them.
const RTMIN: u8 = 34;
const RTMAX: u8 = 64;

pub(super) fn parse(text: &str) -> Result<String, InvalidValue> {
    const EXPECTED: &str = "a signal, such as SIGTERM, SIGRTMIN+3 or 15";
    let upper = text.to_ascii_uppercase();
    let number = upper.parse::<u8>().ok();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((name, _)) = SIGNALS.iter().find(|(name, value)| *name == short || number == Some(*value)) {
        return Ok(format!("SIG{name}"));
    }
    match number.or_else(|| realtime(short)) {
        Some(RTMIN) => Ok("SIGRTMIN".into()),
        Some(RTMAX) => Ok("SIGRTMAX".into()),
        Some(value @ RTMIN..RTMAX) => Ok(format!("SIGRTMIN+{}", value - RTMIN)),
        _ => invalid(text, EXPECTED),
    }
}

fn realtime(short: &str) -> Option<u8> {
    if let Some(rest) = short.strip_prefix("RTMIN") {
        let offset = if rest.is_empty() { 0 } else { rest.strip_prefix('+')?.parse().ok()? };
        return RTMIN.checked_add(offset);
    }
    let rest = short.strip_prefix("RTMAX")?;
    let offset = if rest.is_empty() { 0 } else { rest.strip_prefix('-')?.parse().ok()? };
    RTMAX.checked_sub(offset)
}

impl Signal {
    /// SIGTERM, what stops a container unless somebody says otherwise.
    pub fn term() -> Self {
        Self("SIGTERM".into())
    }

    /// SIGKILL, which no payload can handle.
    pub fn kill() -> Self {
        Self("SIGKILL".into())
    }

    /// The signal's number.
    pub fn number(&self) -> u8 {
        let short = self.0.strip_prefix("SIG").unwrap_or(&self.0);
        let named = SIGNALS.iter().find(|(name, _)| *name == short).map(|(_, value)| *value);
        named.or_else(|| realtime(short)).expect("the constructor admits known signals only")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        for (text, name, number) in [
            ("SIGTERM", "SIGTERM", 15),
            ("quit", "SIGQUIT", 3),
            ("9", "SIGKILL", 9),
            ("SIGRTMIN+3", "SIGRTMIN+3", 37),
            ("37", "SIGRTMIN+3", 37),
            ("RTMAX-1", "SIGRTMIN+29", 63),
            ("64", "SIGRTMAX", 64),
        ] {
            let signal = Signal::try_from(text.to_owned()).unwrap();
            assert_eq!((signal.as_str(), signal.number()), (name, number), "{text}");
        }
    }
}
