//! What a compose writes into: the only writer of the composer.

pub mod sysroot;
