//! What a compose writes into: the only writer of the composer.
//!
//! [`sysroot`] is the door. Behind it, from the bottom up: `beneath` (handles that never lead out of the root), `erase`,
//! `marks` and `journal` (what must outlive a kill), `swap` (the changes, and undoing them), `recover`, `assemble` and
//! `contents` (everything that is made beside), `staging` (one change from begin to commit), `scan` (reading back).

mod assemble;
mod beneath;
mod contents;
mod erase;
mod guard;
mod journal;
mod marks;
mod owners;
mod plan;
mod recover;
mod scan;
mod staging;
mod swap;
pub mod sysroot;
