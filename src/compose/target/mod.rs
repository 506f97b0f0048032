//! What a compose writes into: the only writer of the composer.
//!
//! [`sysroot`] is the door. Behind it, from the bottom up: `beneath` (handles that never lead out of the root), `erase`,
//! `marks` and `journal` (what must outlive a kill), `swap` (the changes, and undoing them), `recover`, `assemble` and
//! `contents` (everything that is made beside), `staging` (one change from begin to commit), `scan` (reading back).
//!
//! [`commit`] is the other door: a commit in, a new commit out. Behind it: `snapshot` (paths in a commit's tree), `graft`
//! (the tree with changes), `composing` (one new commit from begin to the moved ref), `labels` and `relabel` (SELinux),
//! `committed` (reading back).

mod assemble;
mod beneath;
pub mod commit;
mod committed;
mod composing;
mod contents;
mod erase;
mod graft;
mod guard;
mod journal;
mod labels;
mod marks;
mod owners;
mod plan;
mod recover;
mod relabel;
mod rootfs;
mod scan;
mod snapshot;
mod staging;
mod swap;
pub mod sysroot;
