//! What is written down of a container: its record, and the documents that it was made from.

use std::collections::BTreeMap;

use crate::digest::Digest;
use crate::image::flatten::READING;
use crate::place;
use crate::prepare::{self, Prepared};
use crate::record::{ImageRecord, LeftOutRecord, Record, Signers, TreeRecord, VERSION, to_json};
use crate::tree::ImageTree;

use super::{Subject, shown};

impl Subject<'_> {
    /// `tree` is the container's root, mount targets included.
    pub(super) fn tree_record(
        &self,
        tree: &ImageTree,
        digest: Digest,
        left_out: Vec<LeftOutRecord>,
        prepared: &Prepared,
    ) -> TreeRecord {
        let mount_targets = prepared.mount_targets.iter();
        TreeRecord {
            digest,
            entries: tree.entries(),
            bytes: tree.file_bytes(),
            epoch: self.epoch.seconds(),
            reading: READING,
            mount_targets: mount_targets.map(|target| shown(target.path.as_bytes())).collect(),
            left_out,
        }
    }

    pub(super) fn record(&self, tree: TreeRecord, prepared: &Prepared) -> Record {
        let settings = self.settings;
        Record {
            version: VERSION,
            name: self.name.clone(),
            group: self.group.clone(),
            image: ImageRecord {
                source: self.reference.to_string(),
                index: self.image.index,
                manifest: self.image.manifest.as_ref().map(|it| it.digest),
                config: self.image.config_document.digest,
                diff_ids: self.image.config.diff_ids.clone(),
                architecture: self.image.config.architecture.clone(),
                signed_by: self.signed_by.to_vec(),
            },
            origin: prepare::origin(&self.image.config_document.digest, settings),
            update: settings.update.clone(),
            runtime: self.runtime.clone(),
            fallback: settings.fallback,
            launch: prepared.launch.clone(),
            rootfs: settings.rootfs.clone(),
            tree,
            files: BTreeMap::new(),
            placed: BTreeMap::new(),
            made: prepared.made.clone(),
        }
    }

    /// What an update needs to render the container again.
    pub(super) fn documents(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::from([
            (place::IMAGE_CONFIG.to_owned(), self.image.config_document.bytes.clone()),
            (place::SETTINGS_JSON.to_owned(), to_json(self.settings)),
        ]);
        if let Some(manifest) = &self.image.manifest {
            files.insert(place::IMAGE_MANIFEST.to_owned(), manifest.bytes.clone());
        }
        if !self.keys.is_empty() {
            let signers = self.keys.iter().map(|it| it.signer.clone()).collect();
            let signers = Signers { version: VERSION, signers };
            files.insert(place::SIGNERS_JSON.to_owned(), to_json(&signers));
            let keys = self.keys.iter().enumerate();
            files.extend(keys.map(|(place, it)| (place::signer_key(place), it.key.clone())));
        }
        files
    }
}
