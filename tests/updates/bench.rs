//! A host whose /etc and /var/lib/containers outlive its boots, and images in /images.

use std::path::PathBuf;

use serde_json::json;
use sysctr_tests::boot::Report;
use sysctr_tests::{Boot, Command, Compose, Crafted, Layer, Packing, Root, crafted, scratch};
use tempfile::TempDir;

/// An image of two layers: busybox, and what a web server on port 8085 answers.
pub struct Version {
    answer: String,
    script: String,
    /// Whether the base layer has a page, too.
    base_page: bool,
    /// Whether it has tests/payloads/payload.c as /bin/payload.
    payload: bool,
    /// Files of `/exports` with their texts; those in a `bin` are programs.
    exports: Vec<(String, String)>,
    /// PAX records of each of them.
    records: Vec<(&'static str, &'static str)>,
}

pub fn version(answer: &str) -> Version {
    Version {
        answer: answer.to_owned(),
        base_page: false,
        payload: false,
        exports: Vec::new(),
        records: Vec::new(),
        script: "exec httpd -f -p 127.0.0.1:8085 -h /www".to_owned(),
    }
}

impl Version {
    /// The program is this shell script instead.
    pub fn ends_with(mut self, script: &str) -> Self {
        self.script = script.to_owned();
        self
    }

    /// What it answers.
    pub fn name(&self) -> &str {
        &self.answer
    }

    /// Its page is written over one that the base has.
    pub fn over_the_base(mut self) -> Self {
        self.base_page = true;
        self
    }

    /// It brings a file for the host.
    pub fn host_file(self, path: &str, text: &str) -> Self {
        self.export(&format!("hostfs{path}"), text)
    }

    /// What it has in /exports has an extended attribute.
    pub fn with_attributes(mut self) -> Self {
        self.records = vec![("SCHILY.xattr.user.note", "kept")];
        self
    }

    /// It has this in /exports.
    pub fn export(mut self, path: &str, text: &str) -> Self {
        self.exports.push((path.to_owned(), text.to_owned()));
        self
    }

    /// It has tests/payloads/payload.c as /bin/payload.
    pub fn with_payload(mut self) -> Self {
        self.payload = true;
        self
    }

    /// It byte by byte.
    pub fn crafted(&self) -> Crafted {
        let busybox = std::fs::read("/bin/busybox").expect("busybox-static is installed");
        let mut base = ["sh", "httpd", "sleep", "echo"]
            .iter()
            .fold(Layer::new().dir("bin").program("bin/busybox", busybox), |layer, applet| {
                layer.symlink(&format!("bin/{applet}"), "busybox")
            });
        if self.base_page {
            base = base.dir("www").file("www/index.html", "the base\n");
        }
        let mut top = Layer::new().dir("www").file("www/index.html", format!("version {}\n", self.answer));
        if self.payload {
            let program = sysctr_tests::Image::payload().directory().join("files/bin/payload");
            top = top.program("bin/payload", std::fs::read(program).expect("the payload fixture"));
        }
        for (path, text) in &self.exports {
            let path = format!("exports/{path}");
            if !self.records.is_empty() {
                top = top.pax(&self.records);
            }
            top = if path.contains("/bin/") { top.program(&path, text) } else { top.file(&path, text) };
        }
        let mut image = Crafted::of(&[base.bytes(), top.bytes()], Packing::Gzip);
        image.config["config"] =
            json!({"Entrypoint": ["/bin/sh", "-c", self.script], "StopSignal": "SIGKILL"});
        if !self.exports.is_empty() {
            image.config["config"]["Labels"] = json!({"atomic.type": "system"});
        }
        image
    }
}

pub struct Bench {
    root: Root,
    work: TempDir,
}

impl Bench {
    /// A booted-to-be host that embeds the first as `web`, if there is one.
    pub fn new(embedded: &[Version]) -> Self {
        let bench = Self { root: Root::debian(), work: scratch() };
        std::fs::create_dir(bench.root.join("images")).expect("a new directory");
        for dir in ["images", "containers"] {
            std::fs::create_dir(bench.work.path().join(dir)).expect("a new directory");
        }
        match embedded.first() {
            Some(version) => bench.update_host(version),
            None => {
                let hello = sysctr_tests::Image::hello();
                let manifest = format!(
                    "group = 'other'\n[[container]]\nname = 'other'\nimage = '{}'\nenable = false\n",
                    hello.in_manifest()
                );
                Compose::into(&bench.root).manifest(manifest).with(&hello).add_launcher().run().expect_ok();
            }
        }
        Command::new("cp").arg("-a").arg(bench.root.join("etc")).arg(bench.path("etc")).run().expect_ok();
        bench
    }

    /// The host image.
    pub fn root(&self) -> PathBuf {
        self.root.path()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    /// The host image gets another version of `web`; what is in /etc stays.
    pub fn update_host(&self, version: &Version) {
        self.embed(version, "");
    }

    /// The same, with settings of its.
    pub fn embed(&self, version: &Version, settings: &str) {
        let images = scratch();
        crafted::write(&version.crafted().layout(), &images.path().join("web"));
        let manifest = format!(
            "group = 'web'\n[[container]]\nname = 'web'\nimage = 'oci:{}/web'\n{settings}\n",
            images.path().display()
        );
        Compose::into(&self.root).manifest(manifest).add_launcher().run().expect_ok();
    }

    /// An image below /images, called by its answer.
    pub fn image(&self, version: &Version) {
        crafted::write(&version.crafted().layout(), &self.path("images").join(&version.answer));
    }

    /// Boots the host.
    pub fn boot(&self, script: &str) -> Report {
        self.boot_with(&[], script)
    }

    fn machine(&self) -> Boot {
        Boot::of(&self.root)
            .nspawn(format!("--bind={}:/etc", self.path("etc").display()))
            .nspawn(format!("--bind={}:/var/lib/containers", self.path("containers").display()))
            .nspawn(format!("--bind-ro={}:/images", self.path("images").display()))
    }

    /// What the host has as /images.
    pub fn images(&self) -> PathBuf {
        self.path("images")
    }

    /// What the host has as /etc.
    pub fn etc(&self) -> PathBuf {
        self.path("etc")
    }

    /// Boots the host with more arguments for systemd-nspawn.
    pub fn boot_with(&self, nspawn: &[String], script: &str) -> Report {
        let boot = nspawn.iter().fold(self.machine().at_most(300), |boot, arg| boot.nspawn(arg));
        boot.run(&format!("{SHELL}{script}"))
    }

    /// A program of this machine, which has the same Debian, with the libraries that the host lacks.
    pub fn lend(&self, program: &str) {
        let script = r#"program=$(command -v "$1"); cp "$program" "$2/usr/bin/"
            for library in $(ldd "$program" | grep -o ' /[^ ]*'); do
              [ -e "$2/usr$library" ] || cp -L "$library" "$2/usr/lib/x86_64-linux-gnu/"
            done"#;
        let bash = Command::new("bash").args(["-euc", script, "lend", program]);
        bash.arg(self.root.path()).run().expect_ok();
    }

    /// What `ostree fsck` says of the host's store.
    pub fn assert_store_clean(&self) {
        let repo = self.path("containers/atomic/.repo");
        let fsck = Command::new("ostree").arg("fsck").arg(format!("--repo={}", repo.display()));
        fsck.run().expect_ok();
    }
}

pub const SHELL: &str = r#"
# answered VERSION: whether the server answers with it; says VERSION: fails unless it does within ten seconds
answered() { [ "$(fetch 8085 | tail -n 1)" = "version $1" ]; }
says() { wait_for answered "$1"; }
# active: what the next start of web runs, and why
active() {
  sysctr status --format json web | tr -d '\n' | sed 's/.*"active": "\([^"]*\)".*"why": "\([^"]*\)".*/\1 \2/'
}
"#;
