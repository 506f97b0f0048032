//! How far one image is: a bar, JSON lines, or nothing.

use std::cell::Cell;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::io::Write as _;

use super::Task;
use crate::progress::Reporter;

const BAR: &str = "{prefix:32} {wide_bar} {bytes:>10}/{total_bytes:10}";

/// One image under way.
pub(super) struct Progress<'a> {
    reporter: &'a Reporter,
    task: &'a Task<'a>,
    total: u64,
    told: Cell<u64>,
    bar: Option<ProgressBar>,
}

/// One line of `--progress json`.
#[derive(Serialize)]
struct Event<'a> {
    event: &'static str,
    container: &'a str,
    architecture: &'a str,
    bytes: u64,
    total: u64,
}

impl<'a> Progress<'a> {
    /// An image of which `total` bytes are missing, as far as is known.
    pub(super) fn begin(reporter: &'a Reporter, task: &'a Task<'a>, total: u64) -> Self {
        let bar = match reporter {
            Reporter::Bars(bars) => {
                let style = ProgressStyle::with_template(BAR).expect("a valid template");
                let prefix = format!("{} {}", task.container.name, task.architecture);
                Some(bars.add(ProgressBar::new(total)).with_style(style).with_prefix(prefix))
            }
            Reporter::Json | Reporter::Silent => None,
        };
        let progress = Self { reporter, task, total, told: Cell::new(0), bar };
        progress.tell("fetch", 0);
        progress
    }

    /// That many bytes came so far.
    pub(super) fn at(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
        }
        if bytes.saturating_sub(self.told.get()) >= (self.total / 100).max(1) {
            self.told.set(bytes);
            self.tell("fetching", bytes);
        }
    }

    /// It is in the cache; that many bytes are new there.
    pub(super) fn done(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.tell("fetched", bytes);
    }

    fn tell(&self, event: &'static str, bytes: u64) {
        if let Reporter::Json = self.reporter {
            let (container, architecture) =
                (self.task.container.name.as_str(), self.task.architecture.as_str());
            let event = Event { event, container, architecture, bytes, total: self.total };
            let line = serde_json::to_string(&event).unwrap_or_default();
            // A closed stderr is no reason to stop.
            writeln!(std::io::stderr().lock(), "{line}").unwrap_or_default();
        }
    }
}
