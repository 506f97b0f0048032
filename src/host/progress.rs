//! How far fetching and reading are: lines for people or programs on stderr, or nothing. No bars: a library that draws them would
//! weigh more than the rest of this program.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use clap::ValueEnum;
use sysctr_core::arch::Architecture;
use sysctr_core::digest::Digest;
use sysctr_core::image::flatten::Progress;
use sysctr_core::interrupt::Interrupt;
use sysctr_core::progress::{FetchEvent, LayerEvent, step, tell};
use sysctr_core::skopeo::Mark;

/// `--progress`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// As bar on a terminal, else nothing
    #[default]
    Auto,
    /// A line for each image and layer
    Bar,
    /// One JSON object a line on stderr
    Json,
    /// Nothing
    None,
}

impl Form {
    /// What `auto` comes to.
    #[must_use]
    pub fn decided(self) -> Self {
        match self {
            Self::Auto if std::io::stderr().is_terminal() => Self::Bar,
            Self::Auto => Self::None,
            other => other,
        }
    }
}

/// An image on its way.
pub struct Fetch<'a> {
    form: Form,
    image: &'a str,
    architecture: Architecture,
    blobs: Vec<(Digest, u64)>,
    told: RefCell<BTreeMap<Digest, u64>>,
}

impl<'a> Fetch<'a> {
    /// These blobs of it, with their bytes, are to come.
    pub fn begin(form: Form, image: &'a str, architecture: Architecture, blobs: Vec<(Digest, u64)>) -> Self {
        let fetch = Self { form: form.decided(), image, architecture, blobs, told: RefCell::default() };
        if fetch.form == Form::Bar {
            eprintln!("sysctr: fetching {} layers of {image}, {} bytes", fetch.blobs.len(), fetch.total());
        }
        fetch.tell("fetch", None, 0, fetch.total());
        fetch
    }

    /// Whether anybody hears how far each blob is.
    pub fn is_heard(&self) -> bool {
        self.form == Form::Json
    }

    /// What skopeo says.
    pub fn hear(&self, marks: &[Mark]) {
        let mut told = self.told.borrow_mut();
        for mark in marks {
            let named = |(digest, _): &&(Digest, u64)| digest.hex().starts_with(&mark.blob);
            let Some((digest, total)) = self.blobs.iter().find(named) else { continue };
            let (is_new, before) = (!told.contains_key(digest), told.get(digest).copied().unwrap_or(0));
            let bytes = mark.bytes.min(total.saturating_sub(1));
            if is_new || bytes.saturating_sub(before) >= step(*total) {
                told.insert(*digest, before.max(bytes));
                self.tell("blob", Some(*digest), bytes, *total);
            }
        }
    }

    /// All of them came.
    pub fn done(&self) {
        for (digest, total) in &self.blobs {
            self.tell("blob", Some(*digest), *total, *total);
        }
        self.tell("fetched", None, self.total(), self.total());
    }

    fn total(&self) -> u64 {
        self.blobs.iter().map(|(_, bytes)| bytes).sum()
    }

    fn tell(&self, event: &'static str, blob: Option<Digest>, bytes: u64, total: u64) {
        if self.form == Form::Json {
            let (image, architecture) = (self.image, self.architecture.as_str());
            tell(&FetchEvent { event, container: "", architecture, image, blob, bytes, total });
        }
    }
}

/// Hears how far the layers of an image are, and the user's wish to stop.
pub struct Reading<'a> {
    form: Form,
    /// The container's name, or the image's.
    name: &'a str,
    interrupt: &'a Interrupt,
    /// Of each layer: its bytes, and how many were told of.
    layers: Mutex<BTreeMap<usize, (u64, u64)>>,
}

impl<'a> Reading<'a> {
    /// For one image.
    pub fn of(form: Form, name: &'a str, interrupt: &'a Interrupt) -> Self {
        Self { form: form.decided(), name, interrupt, layers: Mutex::default() }
    }

    fn tell(&self, event: &'static str, layer: usize, bytes: u64, total: u64) {
        if self.form == Form::Json {
            tell(&LayerEvent { event, container: self.name, layer, bytes, total });
        }
    }
}

impl Progress for Reading<'_> {
    fn layer(&self, index: usize, of: usize, size: u64) {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner).insert(index, (size, 0));
        if self.form == Form::Bar {
            eprintln!("sysctr: {}: layer {} of {of}, {size} bytes", self.name, index + 1);
        }
        self.tell("layer", index, 0, size);
    }

    fn advance(&self, index: usize, bytes: u64) -> Result<()> {
        self.interrupt.check()?;
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((size, told)) = layers.get_mut(&index)
            && bytes.saturating_sub(*told) >= step(*size)
        {
            *told = bytes;
            self.tell("read", index, bytes, *size);
        }
        Ok(())
    }

    fn done(&self, index: usize) {
        let layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        let size = layers.get(&index).map_or(0, |(size, _)| *size);
        self.tell("done", index, size, size);
    }
}
