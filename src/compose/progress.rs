//! How far the reading of layers is: bars, JSON lines, or nothing; always on stderr.

use std::io::IsTerminal as _;
use std::sync::Mutex;

use anyhow::Result;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use sysctr_core::image::flatten::Progress;
use sysctr_core::name::ContainerName;
use sysctr_core::progress::{LayerEvent, step, tell};

use crate::cli::ProgressForm;
use sysctr_core::interrupt::Interrupt;

const BAR: &str = "{prefix:24} {wide_bar} {bytes:>10}/{total_bytes:10}";

/// Where progress goes. One for the whole program.
pub enum Reporter {
    /// Bars for people.
    Bars(MultiProgress),
    /// One JSON object a line (docs/format.md, "Progress").
    Json,
    /// Nothing.
    Silent,
}

impl Reporter {
    /// The reporter for `form`; `Auto` means bars if stderr is a terminal.
    pub fn new(form: ProgressForm) -> Self {
        match form {
            ProgressForm::Bar => Self::Bars(MultiProgress::new()),
            ProgressForm::Auto if std::io::stderr().is_terminal() => Self::Bars(MultiProgress::new()),
            ProgressForm::Auto | ProgressForm::None => Self::Silent,
            ProgressForm::Json => Self::Json,
        }
    }

    /// The progress of one container's image. `interrupt` is looked at whenever bytes were read.
    pub fn of<'a>(&'a self, name: &'a ContainerName, interrupt: &'a Interrupt) -> ContainerProgress<'a> {
        ContainerProgress { reporter: self, name, interrupt, layers: Mutex::default() }
    }
}

/// One layer under way.
struct Layer {
    index: usize,
    size: u64,
    /// Bytes at the last JSON line, so that lines come by percent and not by read.
    told: u64,
    bar: Option<ProgressBar>,
}

/// The progress of one container's image.
pub struct ContainerProgress<'a> {
    reporter: &'a Reporter,
    name: &'a ContainerName,
    interrupt: &'a Interrupt,
    layers: Mutex<Vec<Layer>>,
}

impl ContainerProgress<'_> {
    fn tell(&self, event: &'static str, layer: &Layer, bytes: u64) {
        if let Reporter::Json = self.reporter {
            let container = self.name.as_str();
            tell(&LayerEvent { event, container, layer: layer.index, bytes, total: layer.size });
        }
    }

    fn with<T>(&self, index: usize, act: impl FnOnce(&mut Layer) -> Result<T>) -> Result<Option<T>> {
        let mut layers = self.layers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        layers.iter_mut().find(|layer| layer.index == index).map(act).transpose()
    }
}

impl Progress for ContainerProgress<'_> {
    fn layer(&self, index: usize, of: usize, size: u64) {
        let bar = match self.reporter {
            Reporter::Bars(bars) => {
                let style = ProgressStyle::with_template(BAR).expect("a valid template");
                let prefix = format!("{} {}/{of}", self.name, index + 1);
                Some(bars.add(ProgressBar::new(size)).with_style(style).with_prefix(prefix))
            }
            Reporter::Json | Reporter::Silent => None,
        };
        let layer = Layer { index, size, told: 0, bar };
        self.tell("layer", &layer, 0);
        let mut layers = self.layers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // One that is begun again.
        layers.retain(|layer| layer.index != index);
        layers.push(layer);
    }

    fn advance(&self, index: usize, bytes: u64) -> Result<()> {
        self.interrupt.check()?;
        self.with(index, |layer| {
            if let Some(bar) = &layer.bar {
                bar.set_position(bytes);
            }
            if bytes.saturating_sub(layer.told) >= step(layer.size) {
                layer.told = bytes;
                self.tell("read", layer, bytes);
            }
            Ok(())
        })?;
        Ok(())
    }

    fn done(&self, index: usize) {
        let finished = self.with(index, |layer| {
            if let Some(bar) = &layer.bar {
                bar.finish_and_clear();
            }
            self.tell("done", layer, layer.size);
            Ok(())
        });
        finished.map(drop).unwrap_or_default();
    }
}
