//! Debian's docker-registry on loopback.

use std::fmt::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::crafted::{self, Crafted};
use crate::{Command, scratch};

/// A registry; it ends when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// On 127.0.0.1.
    pub port: u16,
    dir: TempDir,
    scheme: &'static str,
}

/// A port that nobody had a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .expect("a step of the test")
        .local_addr()
        .expect("a step of the test")
        .port()
}

impl Server {
    /// Without TLS, open to all.
    pub fn plain() -> Self {
        Self::start(scratch(), free_port(), "http", "")
    }

    /// That fetches what it lacks from another.
    pub fn mirror_of(other: &Self) -> Self {
        let more = format!("proxy: {{remoteurl: 'http://127.0.0.1:{}'}}\n", other.port);
        Self::start(scratch(), free_port(), "http", &more)
    }

    /// With TLS by a certificate of its own, for the user `it` with the password `secret`.
    pub fn guarded() -> Self {
        let dir = scratch();
        let path = |name: &str| dir.path().join(name);
        let subject = ["-subj", "/CN=registry", "-addext", "subjectAltName=IP:127.0.0.1"];
        let openssl = Command::new("openssl").args(["req", "-x509", "-newkey", "ec", "-pkeyopt"]);
        let openssl = openssl.args(["ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-keyout"]);
        openssl.arg(path("key.pem")).arg("-out").arg(path("ca.pem")).args(subject).run().expect_ok();
        let users = Command::new("htpasswd").args(["-Bbn", "it", "secret"]).run().expect_ok();
        std::fs::write(path("users"), users.stdout()).expect("a step of the test");
        let more = format!("auth: {{htpasswd: {{realm: test, path: '{}'}}}}\n", path("users").display());
        Self::start(dir, free_port(), "https", &more)
    }

    fn start(dir: TempDir, port: u16, scheme: &'static str, more: &str) -> Self {
        let at = |name: &str| dir.path().join(name).display().to_string();
        let mut text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: '{}'}}}}\n",
            at("data")
        );
        let tls = if scheme == "https" {
            format!(", tls: {{certificate: '{}', key: '{}'}}", at("ca.pem"), at("key.pem"))
        } else {
            String::new()
        };
        write!(text, "http: {{addr: '127.0.0.1:{port}'{tls}}}\n{more}").expect("a step of the test");
        std::fs::write(dir.path().join("config.yml"), text).expect("a step of the test");
        let mut command = std::process::Command::new("docker-registry");
        command.arg("serve").arg(dir.path().join("config.yml"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("docker-registry is installed by `make setup`");
        let server = Self { child, port, dir, scheme };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "docker-registry does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// Where its configuration and its data lie, for one that serves them in another network.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The certificate that it must be trusted by.
    ///
    /// # Panics
    /// When it is one without TLS.
    pub fn certificate(&self) -> PathBuf {
        assert_eq!(self.scheme, "https");
        self.dir.path().join("ca.pem")
    }

    /// Puts an image there, by way of skopeo.
    pub fn push(&self, image: &Crafted, name: &str) {
        let work = scratch();
        crafted::write(&image.layout(), work.path());
        self.push_layout(work.path(), name, &[]);
    }

    /// Puts the only image of a layout there.
    pub fn push_layout(&self, layout: &Path, name: &str, args: &[&str]) {
        self.push_from(&format!("oci:{}", layout.display()), name, args);
    }

    /// Puts one image of a layout there.
    pub fn push_tagged(&self, layout: &Path, tag: &str, name: &str) {
        self.push_from(&format!("oci:{}:{tag}", layout.display()), name, &[]);
    }

    fn push_from(&self, from: &str, name: &str, args: &[&str]) {
        let mut skopeo = Command::new("skopeo")
            .args(["copy", "-q", "--preserve-digests", "--retry-times", "3"])
            .args(args);
        if self.scheme == "https" {
            skopeo = skopeo.env("SSL_CERT_FILE", self.certificate()).args(["--dest-creds", "it:secret"]);
        } else {
            skopeo = skopeo.arg("--dest-tls-verify=false");
        }
        let to = format!("docker://127.0.0.1:{}/{name}", self.port);
        skopeo.args([from, &to]).run().expect_ok();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
