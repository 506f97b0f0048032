//! Objects of OSTree repositories: what they are as bytes, and how they get into a repository's directory. No
//! libostree here; in other people's repositories the transaction, the refs and the commit object are its business.
//!
//! From the bottom up: `variant` (framing), [`object`] (bytes and checksums), [`repo`] (a repository's directories, what
//! is staged and published), `newborn` (what a new file is), `write` (a file object in each mode), [`layers`] (what is known of layers), `pool` (threads),
//! [`listing`] (what an image's layers do, written down), [`shipped`] (roots that contents are copied from),
//! [`contents`] (an image's files on their way in), [`tree`] (an image's tree over them). [`own_repo`] is the host's own
//! repository: commits, refs, [`checkout`] by hard links, the [`inventory`] of what it holds, [`kept`] (files of ours beside an image's), and [`examine`] (whether the objects
//! are what their names say).

pub mod checkout;
pub mod contents;
pub mod examine;
pub mod inventory;
pub mod kept;
pub mod layers;
pub mod listing;
mod newborn;
pub mod object;
pub mod own_repo;
mod pool;
pub mod repo;
pub mod shipped;
pub mod tree;
mod variant;
pub mod write;
