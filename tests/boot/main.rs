//! Real hosts: Debian's packages as an OSTree commit, containers composed into it, deployed to a disk, booted by user-mode Linux.
//!
//! A life of a host is a handful of boots, each with a script that tries many things and reports each by name; every name is a test
//! here. What nspawn shows (tests/boot.rs, tests/updates) is not shown again: this is for the kernel's and the disk's part.
//!
//! All are ignored where nobody asks for them: `make test` boots some beside the other tests (`make boots`), `make boot-test` all.

mod cuts;
mod disk;
mod images;
mod life;
mod machine;
mod own_kernel;
mod selinux;
mod shell;

use life::Life;
use machine::Runtime;

/// Tests that ask a life for its scenarios by name.
macro_rules! scenarios {
    ($life:ident of $host:expr; $($name:ident)*) => {
        mod $life {
            use super::*;

            fn life() -> &'static Life {
                static LIFE: std::sync::OnceLock<Option<Life>> = std::sync::OnceLock::new();
                // What can't be made is tried once.
                let life = LIFE.get_or_init(|| std::panic::catch_unwind(|| Life::of(stringify!($life), $host)).ok());
                life.as_ref().expect("a host; the first test tells why there is none")
            }

            $(#[test] #[ignore = "a boot"] fn $name() { life().expect(stringify!($name)); })*

            #[test]
            #[ignore = "a boot"]
            fn nothing_else_was_tried() {
                life().expect_only(&[$(stringify!($name)),*]);
            }
        }
    };
}

/// The same scenarios on one more host.
macro_rules! on {
    ($life:ident, $host:expr) => {
        scenarios! { $life of $host;
            daemons_answer_after_boot
            containers_start_in_their_phases
            usr_is_read_only
            containers_and_host_units_are_ordered
            readiness_and_health_are_waited_for
            processes_are_in_their_units
            memory_limit_is_obeyed
            process_limit_is_obeyed
            a_full_container_stops_in_order
            cpu_limit_is_set
            devices_are_closed
            a_stop_leaves_nothing
            a_crash_is_followed_by_a_restart
            a_stale_state_hinders_nothing
            host_files_and_tmpfiles_are_in_place
            twenty_start_at_once
            boot_complete_waits_for_the_essential
            blame_tells_each_step
            other_ways_to_run_it_answer
            nothing_failed
            a_reboot_starts_all_again
            an_update_from_an_archive_runs
            an_unhealthy_update_leads_back
            rollback_and_reset
            an_update_from_a_registry_runs
            a_generation_runs_after_a_reboot
            the_host_is_upgraded
            an_update_with_a_host_update_pending
            an_update_with_a_host_update_staged
            a_host_update_supersedes
            a_held_generation_stays
            an_update_on_the_new_host
            a_broken_essential_keeps_boot_complete_away
            a_host_rollback_brings_back_containers
        }
    };
}

on!(debian_12, Runtime::Runc.on("bookworm"));
on!(debian_13_crun, Runtime::Crun.on("trixie"));
on!(debian_14_composefs, Runtime::Runc.on("forky").with_composefs());
