//! Objects of OSTree repositories: what they are as bytes, and how they get into a repository's directory. No
//! libostree here; the transaction, the refs and the commit object are its business.

pub mod object;
mod variant;
