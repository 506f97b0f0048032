//! What composer and launcher share: names and places, the record, reading images, and the road from an image to a
//! bundle and a unit. Modules use only what stands above them here (tests/architecture.rs holds the arrows):
//!
//! - [`digest`], [`name`], [`epoch`], [`arch`], [`settings`], [`tree`]: values, no input or output
//! - [`place`], [`record`], [`generation`]: the contract on disk
//! - [`launcher_note`]: which records a launcher reads, told from its file
//! - [`image`]: reads OCI layouts and archives, checks every byte
//! - [`interrupt`]: signals as a value
//! - [`progress`]: lines that tell how far something is
//! - [`scan`]: reads a directory back as a tree
//! - [`skopeo`]: runs the program that fetches images
//! - [`store`]: objects of OSTree repositories
//! - [`bundle`]: what the OCI runtime needs; computes only
//! - [`units`]: what systemd needs; computes only
//! - [`exports`]: what an image made for Project Atomic brings along; computes only
//! - [`prepare`]: image + settings → bundle, unit, links; computes only
//! - [`placement`]: which bytes go where in a target; computes only
//! - [`container`]: an image's tree and its settings → its record and everything that is placed; computes only
//! - [`inspection`]: what a host has, held against the records

pub mod arch;
pub mod bundle;
pub mod container;
pub mod digest;
pub mod epoch;
pub mod exports;
pub mod generation;
pub mod image;
pub mod inspection;
pub mod interrupt;
pub mod launcher_note;
pub mod name;
pub mod place;
pub mod placement;
pub mod prepare;
pub mod progress;
pub mod record;
pub mod scan;
pub mod settings;
pub mod skopeo;
pub mod store;
pub mod tree;
pub mod units;
