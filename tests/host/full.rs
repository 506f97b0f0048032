//! Containers that have used up a limit of processes: they can be stopped as the image wants it. A unit is a cgroup of that name
//! here, with a limit that systemd would set; its commands begin there, as systemd's do.

use serde_json::{Value, json};
use sysctr_tests::machine::{Machine, bind};

/// Fills whatever limit there is, reaps none of it, and ends in order when it is asked to. The loop's own shell leaves one place when
/// it can't go on, and the last `sleep` takes it; all that follows is built into the shell.
const FILL: &str = "trap 'echo asked > /data/asked; exit 0' TERM; sleep 100000 & first=$!; \
     (while :; do sleep 100000 & done) 2>/dev/null; sleep 100000 & echo full > /data/full; wait $first";

/// The cgroups of a unit, in all hierarchies that a machine has.
struct Unit<'a> {
    machine: &'a Machine,
    name: String,
    own: String,
}

impl<'a> Unit<'a> {
    fn of(machine: &'a Machine, name: &str, tasks_max: u32) -> Self {
        let own = format!("sysctr-full-{name}-{}", std::process::id());
        let unit = Self { machine, name: name.to_owned(), own };
        unit.each(&format!(
            "mkdir -p $c/{name}.service
             test ! -e $c/cpuset.cpus || for f in cpus mems; do
               test -s $c/cpuset.$f || cat $c/../cpuset.$f > $c/cpuset.$f; cat $c/cpuset.$f > $c/{name}.service/cpuset.$f
             done
             test ! -e $c/cgroup.subtree_control || echo +pids > $c/cgroup.subtree_control || :
             test ! -e $c/{name}.service/pids.max || echo {tasks_max} > $c/{name}.service/pids.max"
        ));
        unit
    }

    /// A script for each of the machine's hierarchies, `$c` being our directory in it.
    fn each(&self, script: &str) {
        self.machine.shell(&format!("{}; for c in $all; do mkdir -p $c; {script}; done", self.all()));
    }

    fn all(&self) -> String {
        let own = &self.own;
        format!(
            "if test -e /sys/fs/cgroup/cgroup.procs; then all=/sys/fs/cgroup/{own}; \
             else all=; for c in /sys/fs/cgroup/*/cgroup.procs; do all=\"$all ${{c%/cgroup.procs}}/{own}\"; done; fi"
        )
    }

    /// A shell line that begins in the unit; what it says.
    fn run(&self, line: &str) -> String {
        let name = &self.name;
        let enter =
            format!("{}; for c in $all; do echo $$ > $c/{name}.service/cgroup.procs; done", self.all());
        self.machine.shell(&format!("{enter}; {line}"))
    }

    /// The file of the limiting controller below the unit.
    fn pids(&self, file: &str) -> String {
        let path = format!("{}/{}.service/{file}", self.own, self.name);
        self.machine
            .shell(&format!("cat /sys/fs/cgroup/pids/{path} 2>/dev/null || cat /sys/fs/cgroup/{path}"))
    }

    fn start(&self) {
        let name = &self.name;
        self.run(&format!("exec /usr/lib/under-test/sysctr run --detach {name} >/dev/null 2>&1"));
        self.machine.until(&format!("test -e /var/{name}/full"));
    }

    fn stop(&self) {
        self.run(&format!("exec /usr/lib/under-test/sysctr stop {}", self.name));
        assert_eq!(self.machine.shell(&format!("cat /var/{}/asked", self.name)), "asked\n");
        assert_eq!(self.machine.shell("ls -A /run/sysctr /run/sysctr/runtime"), EMPTY);
    }
}

const EMPTY: &str = "/run/sysctr:\nruntime\n\n/run/sysctr/runtime:\n";

impl Drop for Unit<'_> {
    fn drop(&mut self) {
        let own = &self.own;
        let rmdir =
            format!("find /sys/fs/cgroup -depth -type d -path '*/{own}*' -exec rmdir {{}} \\; 2>/dev/null");
        drop(self.machine.command("sh").args(["-uc", &rmdir]).output());
    }
}

fn machine(runtime: &str, name: &str, edit: impl Fn(&mut Value)) -> Machine {
    let mut machine = Machine::new();
    machine.embed(runtime, name, FILL, |config, record| {
        bind(config, &format!("/var/{name}"), "/data");
        edit(record);
    });
    machine.up();
    machine.shell(&format!("mkdir /var/{name}"));
    machine
}

#[test]
fn a_limit_of_processes_is_the_containers_own_and_leaves_its_unit_room() {
    for runtime in super::RUNTIMES {
        let name = format!("limited-{runtime}");
        let machine = machine(runtime, &name, |record| record["launch"]["pids"] = json!(30));
        let unit = Unit::of(&machine, &name, 158);
        unit.start();
        assert_eq!(
            (unit.pids("payload/pids.max"), unit.pids("payload/pids.current")),
            ("30\n".into(), "30\n".into())
        );
        assert_eq!(unit.run("/bin/echo $(/bin/echo room)"), "room\n");
        // runc moves what it starts there when it runs already; it can begin nothing further.
        let mut exec = machine.sysctr(&format!("exec {name}"));
        let exec = exec.args(["sh", "-c", "x=$(true)"]).output().unwrap();
        assert!(!exec.status.success(), "{runtime}: the limit was not obeyed: {exec:?}");
        unit.stop();
    }
}

/// The limit is the unit's alone: an admin's, a template's, or what systemd gives every unit.
#[test]
fn where_a_unit_is_full_a_stop_needs_no_further_process() {
    for runtime in super::RUNTIMES {
        let name = format!("full-{runtime}");
        let machine = machine(runtime, &name, |_| {});
        let unit = Unit::of(&machine, &name, 40);
        unit.start();
        assert_eq!(unit.pids("pids.current"), "40\n");
        let fork = "exec 2>/dev/null; x=$(/bin/true)";
        let full = format!(
            "{}; for c in $all; do echo $$ > $c/{name}.service/cgroup.procs; done; {fork}",
            unit.all()
        );
        let output = machine.command("sh").args(["-euc", &full]).output().unwrap();
        assert!(!output.status.success(), "{runtime}: there is room for another process");
        unit.stop();
    }
}
