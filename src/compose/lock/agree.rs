//! A lock held against its manifest.

use anyhow::Result;
use sysctr_core::arch::Architecture;
use sysctr_core::name::ContainerName;

use super::{Key, LockFile, Locked};
use crate::manifest::{Container, Manifest, NotUnderstood};

impl LockFile {
    /// The image that the lock gives `container`.
    ///
    /// # Errors
    /// [`NotUnderstood`] with the line of the lock that disagrees with the manifest, or when the lock lacks it.
    pub fn image(&self, container: &Container, architecture: Architecture) -> Result<&Locked, NotUnderstood> {
        let key = (container.name.clone(), architecture);
        let Some(image) = self.lock.images.get(&key) else {
            let (name, path) = (&container.name, &self.path);
            let why = format!("{path}: container {name} is not locked for {architecture}");
            return Err(NotUnderstood::new(format!("{why}; run sysctr-compose fetch --arch {architecture}")));
        };
        match disagreement(container, image) {
            None => Ok(image),
            Some((line, why)) => Err(self.refuse(&key, line, &why)),
        }
    }

    /// The whole lock for one architecture against the manifest.
    ///
    /// # Errors
    /// As [`LockFile::image`]; also when it has a container that the manifest has not.
    pub fn check(&self, manifest: &Manifest, architecture: Architecture) -> Result<(), NotUnderstood> {
        let known =
            |name: &ContainerName| manifest.containers.iter().any(|container| container.name == *name);
        if let Some(key) = self.lock.images.keys().find(|(name, _)| !known(name)) {
            let why = format!("the manifest has no container {}", key.0);
            return Err(self.refuse(key, "container", &why));
        }
        manifest.containers.iter().try_for_each(|container| self.image(container, architecture).map(drop))
    }

    /// An error about the line `field` of an entry.
    fn refuse(&self, key: &Key, field: &str, why: &str) -> NotUnderstood {
        let line = self.line(key, field);
        NotUnderstood::new(format!("{}:{line}:1: {why}; run sysctr-compose fetch", self.path))
    }

    /// The line of an entry's field; of the entry where it has none of that name. The text is canonical, so entries are
    /// in the map's order.
    fn line(&self, key: &Key, field: &str) -> usize {
        let nth = self.lock.images.keys().position(|other| other == key).unwrap_or_default();
        let lines: Vec<_> = self.text.lines().collect();
        let mut starts = lines.iter().enumerate().filter(|(_, line)| **line == "[[image]]").map(|(at, _)| at);
        let start = starts.nth(nth).unwrap_or_default();
        let entry = lines[start..].iter().take_while(|line| !line.is_empty());
        let beginning = format!("{field} = ");
        entry.enumerate().find(|(_, line)| line.starts_with(&beginning)).map_or(start, |(at, _)| start + at)
            + 1
    }
}

/// The field of `image` that is not what the manifest wants, and why.
pub fn disagreement(container: &Container, image: &Locked) -> Option<(&'static str, String)> {
    let name = &container.name;
    if image.source != container.image {
        let (wanted, found) = (&container.image, &image.source);
        return Some((
            "source",
            format!("container {name} is locked from {found}, the manifest wants {wanted}"),
        ));
    }
    if let Some(pin) = container.pin
        && !image.is_pinned_by(pin)
    {
        return Some((
            "manifest",
            format!("container {name} is locked to another image than the manifest's {pin}"),
        ));
    }
    let demanded = &container.registry.signed_by;
    if !demanded.is_empty() && !image.signed_by().iter().any(|signer| demanded.contains(&signer.key)) {
        let keys = demanded.join(" or ");
        return Some(("signed_by", format!("container {name} is locked without a signature by {keys}")));
    }
    None
}
