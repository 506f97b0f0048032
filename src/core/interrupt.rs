//! SIGINT, SIGTERM and SIGHUP as a value that long work looks at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

/// Whether the user asked to stop.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    asked: Arc<AtomicBool>,
}

/// The user asked to stop.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

impl Interrupt {
    /// Takes SIGINT, SIGTERM and SIGHUP from now on.
    ///
    /// # Errors
    /// When the signal handlers can't be installed.
    pub fn install() -> Result<Self> {
        let interrupt = Self::default();
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP]
        {
            signal_hook::flag::register(signal, Arc::clone(&interrupt.asked))
                .with_context(|| format!("installing a handler for signal {signal}"))?;
        }
        Ok(interrupt)
    }

    /// # Errors
    /// [`Interrupted`] once the user asked to stop.
    pub fn check(&self) -> Result<(), Interrupted> {
        if self.asked.load(Ordering::Relaxed) { Err(Interrupted) } else { Ok(()) }
    }
}
