//! The osbuild stage. osbuild is no Debian package; its `BuildRoot` is rebuilt here after its sources: bubblewrap's arguments, the
//! capabilities of a stage, environment, the arguments' file, and the schema that a stage's description becomes.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use sysctr_tests::{Command, Output, fixture, private_mounts};
use tempfile::TempDir;

use crate::{expect_composed, expect_runs, unpack, workshop};

const NAME: &str = "org.sysctr.compose";

/// What osbuild takes from a stage that asks for nothing.
const DROPPED: &str = "AUDIT_CONTROL AUDIT_READ BLOCK_SUSPEND BPF CHECKPOINT_RESTORE IPC_OWNER KILL LEASE MAC_ADMIN NET_ADMIN \
    NET_BROADCAST NET_RAW PERFMON SYSLOG SYS_BOOT SYS_MODULE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_TIME SYS_TTY_CONFIG WAKE_ALARM";

/// The rest of its sandbox, `WORK` standing for the test's directory.
const SANDBOX: &str = "--chdir / --die-with-parent --new-session --unshare-ipc --unshare-pid --unshare-net \
    --ro-bind WORK/build/usr /usr \
    --symlink usr/lib /lib --symlink usr/lib64 /lib64 --symlink usr/bin /bin --symlink usr/sbin /sbin \
    --dev-bind WORK/build/dev /dev --tmpfs /dev/shm --dir /etc --tmpfs /run --tmpfs /tmp --bind WORK/build/var /var \
    --proc /proc --ro-bind /sys /sys --ro-bind-try /etc/containers /etc/containers --ro-bind WORK/lib /run/osbuild/lib \
    --bind WORK/tree /run/osbuild/tree --bind WORK/meta /run/osbuild/meta --bind WORK/mounts /run/osbuild/mounts \
    --ro-bind WORK/osbuild/org.sysctr.compose /run/osbuild/bin/org.sysctr.compose \
    --ro-bind WORK/inputs /run/osbuild/inputs --ro-bind WORK/arguments /run/osbuild/api/arguments";

/// Its environment, from nothing.
const ENVIRONMENT: [&str; 8] = [
    "env",
    "-i",
    "container=bwrap-osbuild",
    "LC_CTYPE=C.UTF-8",
    "PATH=/usr/sbin:/usr/bin",
    "PYTHONPATH=/run/osbuild/lib",
    "PYTHONUNBUFFERED=1",
    "TERM=dumb",
];

/// Validates a stage as osbuild does: draft 4, over what the description says.
const VALIDATE: &str = "
import json, jsonschema, sys
meta, stage = (json.load(open(path)) for path in sys.argv[1:])
schema = {'title': 'Pipeline Stage', 'type': 'object', 'additionalProperties': False, 'required': ['type'],
    'properties': {'type': {'enum': [sys.argv[1].split('/')[-1][:-len('.meta.json')]]}, 'mounts': {'type': 'array'}, **meta['schema_2']}}
jsonschema.Draft4Validator.check_schema(schema)
for error in jsonschema.Draft4Validator(schema).iter_errors(stage):
    print(error.message)
";

/// A build root: this machine's /usr, as osbuild takes without a build pipeline, with the programs in it.
struct Build {
    work: TempDir,
}

impl Build {
    fn new() -> Self {
        private_mounts();
        let build = Self { work: workshop(&["osbuild"]) };
        for directory in
            ["build/usr", "build/dev", "build/var", "lib", "inputs/built", "inputs/fetched", "mounts"]
        {
            fs::create_dir_all(build.join(directory)).expect("a step of the test");
        }
        let layers = format!("lowerdir={}:/usr", build.join("tools").display());
        fs::create_dir(build.join("tools")).expect("a step of the test");
        fs::rename(build.join("bin"), build.join("tools/bin")).expect("a step of the test");
        let mount = Command::new("mount").args(["-t", "overlay", "overlay", "-o", &layers]);
        mount.arg(build.join("build/usr")).run().expect_ok();
        let devices = "mount -t tmpfs -o nosuid none $0; cd $0; mknod -m 666 null c 1 3; mknod -m 666 full c 1 7; \
            mknod -m 666 zero c 1 5; mknod -m 666 random c 1 8; mknod -m 666 urandom c 1 9; mknod -m 666 tty c 5 0";
        Command::new("sh").args(["-ec", devices]).arg(build.join("build/dev")).run().expect_ok();
        unpack(&fixture::directory("root").join("root.tar.zst"), &build.join("tree"));
        build
    }

    fn join(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    /// The images as osbuild's `org.osbuild.containers` gives them: an archive by a pipeline, a directory by a source.
    fn inputs(&self) -> Value {
        fs::rename(self.join("images/hello.tar"), self.join("inputs/built/hello.tar"))
            .expect("a step of the test");
        let id = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
        let from = format!("oci-archive:{}", self.join("images/tools.tar").display());
        // Without a colon in skopeo's reference.
        let to = format!("dir:{}", self.join("fetched").display());
        Command::new("skopeo").args(["copy", "-q", &from, &to]).run().expect_ok();
        fs::rename(self.join("fetched"), self.join("inputs/fetched").join(id)).expect("a step of the test");
        let archive = |file: &str, format: &str, name: &str| json!({"archives": {file: {"format": format, "name": name}}});
        json!({
            "built": {"path": "/run/osbuild/inputs/built", "data": archive("hello.tar", "oci-archive", "localhost/hello:1")},
            "fetched": {"path": "/run/osbuild/inputs/fetched", "data": archive(id, "dir", "localhost/tools:1")},
        })
    }

    /// Runs the stage over `tree`.
    fn run(&self, inputs: &Value, options: &Value) -> Output {
        let paths =
            json!({"devices": "/dev", "inputs": "/run/osbuild/inputs", "mounts": "/run/osbuild/mounts"});
        let arguments = json!({"tree": "/run/osbuild/tree", "paths": paths, "devices": {}, "inputs": inputs, "mounts": {},
            "options": options, "meta": {"id": "0"}});
        fs::write(self.join("arguments"), arguments.to_string()).expect("a step of the test");
        fs::write(self.join("meta"), "").expect("a step of the test");
        let work = self.work.path().to_str().expect("a step of the test");
        let sandbox = SANDBOX.replace("WORK", work);
        let mut bwrap = Command::new("bwrap").args(sandbox.split_whitespace());
        for capability in DROPPED.split_whitespace() {
            bwrap = bwrap.args(["--cap-drop", &format!("CAP_{capability}")]);
        }
        bwrap.arg("--").arg(format!("/run/osbuild/bin/{NAME}")).under(ENVIRONMENT).run()
    }

    /// What osbuild has against a stage in a manifest; nothing if it is valid.
    fn objections(&self, stage: &Value) -> String {
        fs::write(self.join("stage"), stage.to_string()).expect("a step of the test");
        let description = self.join("osbuild").join(format!("{NAME}.meta.json"));
        let python = Command::new("/usr/bin/python3").args(["-c", VALIDATE]).arg(description);
        python.arg(self.join("stage")).run().expect_ok().stdout()
    }
}

#[test]
fn the_stage_embeds_images_of_sources_and_pipelines() {
    let build = Build::new();
    let stage: Value =
        serde_json::from_slice(&fs::read(build.join("osbuild/stage.json")).expect("a step of the test"))
            .expect("a step of the test");
    assert_eq!(build.objections(&stage), "");
    let inputs = build.inputs();
    build.run(&inputs, &stage["options"]).expect_ok();
    expect_composed(&build.join("tree"));
    expect_runs(&build.join("tree"));
    let record =
        fs::read(build.join("tree/usr/lib/containers/atomic/hello/record.json")).expect("a step of the test");
    let record: Value = serde_json::from_slice(&record).expect("a step of the test");
    assert_eq!(record["image"]["source"], "oci-archive:images/localhost-hello-1");
    // skopeo makes /var/lib; of the stage nothing stays.
    let left = fs::read_dir(build.join("build/var"))
        .expect("a step of the test")
        .map(|entry| entry.expect("a step of the test").file_name());
    assert_eq!(left.collect::<Vec<_>>(), ["lib"]);

    let mut wrong = stage["options"].clone();
    wrong["manifest"]["container"][0]["image"] = json!("localhost/other:1");
    let failed = build.run(&inputs, &wrong).expect_code(1);
    assert!(failed.stderr().contains("there is no input image localhost/other:1"), "{}", failed.story());
    expect_composed(&build.join("tree"));
}

#[test]
fn a_stage_that_makes_no_sense_is_refused_by_its_schema() {
    let build = Build { work: workshop(&["osbuild"]) };
    let stage: Value =
        serde_json::from_slice(&fs::read(build.join("osbuild/stage.json")).expect("a step of the test"))
            .expect("a step of the test");
    let breaks: [fn(&mut Value); 4] = [
        |stage| stage["type"] = json!("org.sysctr.other"),
        |stage| stage["options"]["sysroot"] = json!("/"),
        |stage| {
            drop(stage["options"]["manifest"].as_object_mut().expect("a step of the test").remove("group"))
        },
        |stage| stage["inputs"]["built"]["type"] = json!("org.osbuild.files"),
    ];
    for (number, broken) in breaks.into_iter().enumerate() {
        let mut stage = stage.clone();
        broken(&mut stage);
        assert_ne!(build.objections(&stage), "", "{number}");
    }
}
