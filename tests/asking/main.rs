//! What a host tells about its containers: verify and its repairs, status, values, logs, documents of the programs.

#[path = "../updates/bench.rs"]
#[expect(dead_code, reason = "the tests of updates use the rest of it")]
mod bench;
#[path = "../updates/desk.rs"]
#[expect(dead_code, reason = "the tests of updates use the rest of it")]
mod desk;

mod boot;
mod plain;
mod repair;
