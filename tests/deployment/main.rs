//! Physical sysroots, made and judged by `ostree admin`, booted by systemd-nspawn.

mod big;
mod rollout;

pub use sysctr_tests::Sysroot as Host;
