//! What a compose writes into: the only writer of the composer.
//!
//! [`sysroot`] is the door. Behind it, from the bottom up: `beneath` (handles that never lead out of the root), `erase`,
//! `marks` and `journal` (what must outlive a kill), `swap` (the changes, and undoing them), `recover`, `assemble` and
//! `contents` (everything that is made beside), `staging` (one change from begin to commit).
//!
//! [`branch`] is the other door: a commit in, a new commit out and a ref moved. Behind it: `snapshot` (paths in a commit's
//! tree), `commit` (libostree), `graft` (the tree with changes), `composing` and `revision` (one new commit from begin to the moved ref),
//! `labels` and `relabel` (SELinux), `committed` and `read_back` (looking at it).
//! [`signing`] has keys, `commit/signatures` what is done with them. [`rollout`] is a branch whose commits are deployed
//! (`commit/deployments`).
//!
//! [`host_tree`] is what can be asked of both.

mod assemble;
mod beneath;
pub mod branch;
pub mod commit;
mod committed;
mod composing;
mod contents;
mod erase;
mod graft;
mod guard;
pub mod host_tree;
mod journal;
mod labels;
mod marks;
mod owners;
mod plan;
mod read_back;
mod recover;
mod relabel;
mod revision;
pub mod rollout;
pub mod signing;
mod snapshot;
mod staging;
mod swap;
pub mod sysroot;
