//! Images in the manner of Project Atomic's with the programs that Debian ships: composed into a Debian root, judged by the OCI
//! schema and systemd, started by their units' own command lines and by systemd itself, and made to answer.

use std::fs;

use sysctr_tests::runtime::Session;
use sysctr_tests::unit::Unit;
use sysctr_tests::{Boot, Command, Compose, Image, Root, source_dir};

fn container(name: &str, image: &'static str, more: &str) -> String {
    format!("[[container]]\nname = '{name}'\nimage = '{}'\n{more}\n", Image::system(image).in_manifest())
}

/// Two instances of etcd; the second has other ports and directories, one more mount, and runs by crun.
fn two_of_etcd() -> String {
    let second = "runtime = 'crun'\n[container.set]\n\
        STATE_DIRECTORY = '/var/lib/second'\n\
        RUN_DIRECTORY = '/run/second'\n\
        ETCD_NAME = 'b'\n\
        ETCD_INITIAL_CLUSTER = 'b=http://127.0.0.1:3380'\n\
        ETCD_LISTEN_CLIENT_URLS = 'http://127.0.0.1:3379'\n\
        ETCD_ADVERTISE_CLIENT_URLS = 'http://127.0.0.1:3379'\n\
        ETCD_LISTEN_PEER_URLS = 'http://127.0.0.1:3380'\n\
        ETCD_INITIAL_ADVERTISE_PEER_URLS = 'http://127.0.0.1:3380'\n\
        ADDTL_MOUNTS = ',{\"destination\": \"/srv\", \"type\": \"bind\", \"source\": \"/usr/share\", \"options\": [\"rbind\", \"ro\"]}'\n";
    container("etcd", "etcd", "") + &container("etcd-b", "etcd", second)
}

/// A host with what the images bind of it.
fn host() -> Root {
    let root = Root::debian();
    fs::create_dir(root.join("sysroot")).expect("a directory of the root");
    fs::write(root.join("etc/resolv.conf"), "nameserver 127.0.0.1\n").expect("a file of the root");
    fs::write(root.join("etc/hosts"), "127.0.0.1 localhost\n").expect("a file of the root");
    fs::write(root.join("etc/adjtime"), "0.0 0 0.0\n0\nUTC\n").expect("a file of the root");
    root
}

fn compose(root: &Root, containers: &str) -> Compose {
    let manifest = format!("group = 'system'\n{containers}");
    Compose::into(root).manifest(manifest).with(&Image::system("etcd")).add_launcher()
}

/// Nobody has anything to say about these containers: `verify`, the OCI schema, systemd's checker.
fn judged(root: &Root, names: &[&str]) {
    Compose::into(root).verb("verify").run().expect_ok();
    let mut validate = Command::new("/usr/bin/python3").arg("-W").arg("ignore");
    validate = validate.arg(source_dir().join("tests/support/validate.py"));
    let mut verify = Command::new("systemd-analyze").args(["verify", "--man=no", "--recursive-errors=no"]);
    verify = verify.arg(format!("--root={}", root.path().display()));
    for name in names {
        validate = validate.arg(root.bundle(name).join("config.json"));
        verify = verify.arg(format!("{name}.service"));
    }
    let verdict = verify.run().expect_ok();
    assert_eq!((verdict.stdout(), verdict.stderr()), (String::new(), String::new()));
    let verdict = validate.run();
    assert_eq!((verdict.code(), verdict.stdout()), (0, String::new()), "{}", verdict.story());
}

#[test]
fn etcd_keeps_values_over_a_restart_by_its_units_own_lines() {
    let root = host();
    compose(&root, &two_of_etcd()).run().expect_ok();
    judged(&root, &["etcd", "etcd-b"]);
    let (first, second) = (Unit::of(&root.path(), "etcd"), Unit::of(&root.path(), "etcd-b"));
    // The foreground form: the runtime stays.
    assert_eq!((first.one("Type"), first.one("ExecStart")), ("simple", "/usr/bin/sysctr run etcd"));
    let foreground =
        |session: Session, unit: &Unit| session.shell(&format!("{} 2>/run/told &", unit.one("ExecStart")));
    let session = Session::new().without_unified_cgroups().boot("etcd").boot("etcd-b");
    let session = session.shell("sysctr exec etcd /usr/bin/etcdctl version 2>&1 | head -n 1");
    let session = foreground(foreground(session, &first), &second);
    let session = session
        .wait_for("etcdctl endpoint health >/run/health 2>&1")
        .wait_for("etcd-bctl endpoint health >/run/health 2>&1")
        .shell("etcdctl put where 'the first'; etcd-bctl put where 'the second'")
        .shell("etcdctl get where --print-value-only; etcd-bctl get where --print-value-only")
        .shell("stat -c '%a %n' /var/lib/etcd/etcd.etcd /var/lib/second/etcd/etcd-b.etcd /run/etcd /run/second/etcd-b")
        .shell("test ! -e /run/etcd-b; test ! -e /var/lib/etcd/etcd-b.etcd")
        .shell("grep -c ' /second/etcd-b /run/etcd ' /proc/$(cat /run/sysctr/etcd-b/pid)/mountinfo")
        .shell("cat /etc/etcd-b/etcd.conf; sysctr exec etcd-b /usr/bin/etcdctl version | head -n 1")
        .stop(&first);
    let session = foreground(session, &first)
        .wait_for("etcdctl endpoint health >/run/health 2>&1")
        .shell("etcdctl get where --print-value-only")
        .stop(&first)
        .stop(&second)
        .shell("wait; ls -A /run/sysctr/runtime");
    let told = session.run_in(&root.path()).expect_ok().stdout();
    let expected = "etcdctl version: 3.4.23\nOK\nOK\nthe first\nthe second\n700 /var/lib/etcd/etcd.etcd\n700 /var/lib/second/etcd/etcd-b.etcd\n\
        700 /run/etcd\n700 /run/second/etcd-b\n1\n# What etcd-bctl asks.\nETCDCTL_ENDPOINTS=http://127.0.0.1:3379\netcdctl version: 3.4.23\nthe first\n";
    assert_eq!(told, expected);
}

/// Shell functions of the boot.
const SHELL: &str = r#"
# A pseudo terminal in the place of the virtio port, whose other end is ours: ask REQUEST prints the agent's answer.
port() {
  coproc PORT { script -qec 'stty raw -echo; tty >/run/port.new; mv /run/port.new /run/port; exec sleep 1000' /dev/null 2>/dev/null; }
  # Subshells do not get a coprocess's own descriptors.
  exec 6<&"${PORT[0]}" 7>&"${PORT[1]}"
  wait_for test -s /run/port
  mkdir -p /dev/virtio-ports
  : >/dev/virtio-ports/org.qemu.guest_agent.0
  mount --bind "$(cat /run/port)" /dev/virtio-ports/org.qemu.guest_agent.0 || fail "no port"
}
ask() {
  local answer
  echo "$1" >&7
  read -r -t 10 -u 6 answer || fail "no answer to $1"
  echo "$answer"
}
# says UNIT TEXT: whether the journal of the unit has the text
says() { journalctl --no-pager -o cat -u "$1" | grep -qF "$2"; }
"#;

/// What is asked of the programs in the boot.
const PROGRAMS: &str = r#"
expect "link /var/run" "$(readlink -f /var/run)" /run
wait_for has_state etcd active
wait_for etcdctl endpoint health
echo "etcd: $(etcdctl put where 'in a boot') $(etcdctl get where --print-value-only)"
for pid in $(cat "$(group etcd)"/payload/cgroup.procs); do grep -q /etcd.service/ /proc/$pid/cgroup || fail "$pid is elsewhere"; done
systemctl restart etcd || fail "restart of etcd"
wait_for etcdctl endpoint health
echo "etcd: $(etcdctl get where --print-value-only)"
systemctl stop etcd
expect "etcd after stop" "$(is ActiveState etcd) $(is Result etcd)" "inactive success"

wait_for has_state net-snmp active
echo "snmpget: $(sysctr exec net-snmp snmpget -v2c -c public -Oqv 127.0.0.1 1.3.6.1.2.1.1.5.0)"
echo "snmpwalk: $(sysctr exec net-snmp snmpwalk -v2c -c public -Oqv 127.0.0.1 1.3.6.1.2.1.1.6)"
expect "type of net-snmp" "$(is Type net-snmp)" notify
# What is shared with the host's /run must not leave mounts there.
expect "mounts over the notify socket" "$(grep -c ' /run/systemd/notify ' /proc/self/mountinfo)" 0
test -d /run/net-snmp || fail "no runtime directory"
systemctl stop net-snmp
expect "net-snmp after stop" "$(is ActiveState net-snmp) $(is Result net-snmp)" "inactive success"

port
systemctl start qemu-guest-agent || fail "start of the agent"
expect "main process" "$(cat "$(group qemu-guest-agent)"/payload/cgroup.procs)" "$(is MainPID qemu-guest-agent)"
echo "sync: $(ask '{"execute": "guest-sync", "arguments": {"id": 4711}}')"
echo "ping: $(ask '{"execute": "guest-ping"}')"
echo "info: $(ask '{"execute": "guest-info"}' | grep -o '"version": "7[^"]*"')"
echo "host: $(ask '{"execute": "guest-get-host-name"}')"
echo "system: $(ask '{"execute": "guest-get-osinfo"}' | grep -o '"pretty-name": "[^"]*"')"
systemctl stop qemu-guest-agent
expect "agent after stop" "$(is ActiveState qemu-guest-agent) $(is Result qemu-guest-agent)" "inactive success"
test -f /var/log/qemu-ga/qemu-ga.log || fail "no log on the host"

expect "no guest of VMware" "$(is ConditionResult open-vm-tools) $(is ActiveState open-vm-tools)" "no inactive"
: >/dev/rtc
for unit in open-vm-tools checkvm; do
  mkdir -p /run/systemd/system/$unit.service.d
  printf '[Unit]\nConditionVirtualization=\n' >/run/systemd/system/$unit.service.d/any.conf
done
systemctl daemon-reload
for unit in open-vm-tools checkvm; do
  systemctl start $unit
  wait_for has_state $unit failed
  ! says $unit 'runc run failed' || fail "$unit was not even started"
  expect "end of $unit" "$(is ExecMainCode $unit) $(is ExecMainStatus $unit) $(is Result $unit)" "1 1 exit-code"
done
wait_for says checkvm 'vmware-checkvm must be run inside a virtual machine on a VMware hypervisor product.'
"#;

#[test]
fn programs_of_debian_start_under_systemd_and_answer() {
    let root = host();
    let more = [
        container("net-snmp", "net-snmp", ""),
        container("qemu-guest-agent", "qemu-guest-agent", "enable = false"),
        container("open-vm-tools", "open-vm-tools", ""),
        container(
            "checkvm",
            "open-vm-tools",
            "enable = false\nset = { VMWARE_PROGRAM = '/usr/bin/vmware-checkvm' }",
        ),
    ];
    let told = compose(&root, &(container("etcd", "etcd", "") + &more.concat())).run().expect_ok();
    // A line of an image that would have made a directory of what is a link on every host: it is told, once, and not placed.
    let line = "        warning: exports/tmpfiles.template: /var/run is something else by the target's own lines; the line is left \
                out\n";
    assert_eq!(told.stdout().matches(line).count(), 1, "{}", told.story());
    let placed = fs::read_to_string(root.join("usr/lib/tmpfiles.d/sysctr-qemu-guest-agent.conf"));
    assert_eq!(placed.expect("lines of the agent"), "d /var/log/qemu-ga 0755 - - - -\n");
    judged(&root, &["etcd", "net-snmp", "qemu-guest-agent", "open-vm-tools", "checkvm"]);
    assert_eq!(Unit::of(&root.path(), "qemu-guest-agent").one("Type"), "forking");
    let report = Boot::of(&root).at_most(180).run(&format!("{SHELL}{PROGRAMS}"));
    let report = report.expect_ok();
    let expected = "etcd: OK in a boot\netcd: in a boot\nsnmpget: \"host\"\nsnmpwalk: \"Inside a system container\"\n\
        sync: {\"return\": 4711}\nping: {\"return\": {}}\n";
    assert!(report.text.starts_with(expected), "{}\n{}", report.text, report.journal);
    let rest = &report.text[expected.len()..];
    let lines: Vec<_> = rest.lines().collect();
    assert!(lines[0].starts_with("info: \"version\": \"7."), "{rest}");
    assert!(lines[1].contains("\"host-name\": \"host\""), "{rest}");
    assert_eq!(lines[2], "system: \"pretty-name\": \"Debian GNU/Linux 12 (bookworm)\"", "{rest}");
}
