//! What an update fetches, counted on the wire beside the bytes of the layers that the host lacks.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sysctr_tests::registry::Server;
use sysctr_tests::{Command, Compose, Program, Root, scratch};

use crate::images::Set;
use crate::rows::{Row, Rows, Verdict};

/// At most so many times the bytes of missing layers: documents, headers and all.
const MOST: f64 = 1.02;

pub fn run(_: usize) -> Rows {
    let work = scratch();
    let set = Set::make(&work.path().join("images"), 10);
    let host = Host::embedding(&set, 0, work.path().join("host"));
    let mut known = set.layers(0);
    let mut rows = Rows::none();
    for (number, what) in [(1, "one layer of 1 MiB"), (9, "all but the base of a larger image")] {
        let missing: BTreeMap<_, _> =
            set.layers(number).into_iter().filter(|(digest, _)| !known.contains_key(digest)).collect();
        let bytes: u64 = missing.values().sum();
        let fetched = host.update(&set, number);
        let ratio = fetched as f64 / bytes as f64;
        println!("  {what}: {fetched} bytes came, {bytes} in {} missing layers: {ratio:.4} ×", missing.len());
        rows = rows.with(Row {
            work: format!("update download, {what}"),
            found: format!("{ratio:.4} ×"),
            asked: format!("{MOST} ×"),
            verdict: Verdict::of(ratio <= MOST),
        });
        known.extend(missing);
    }
    println!("  the same again: {} bytes came", host.update(&set, 9));
    rows
}

/// This machine in a mount namespace of its own, with another /usr/lib, /run, /etc/containers and /var/lib/containers.
struct Host {
    root: Root,
    dir: PathBuf,
    server: Server,
    wire: Wire,
}

impl Host {
    /// It embeds an image of the set as `web`, whose updates come from a registry.
    fn embedding(set: &Set, number: usize, dir: PathBuf) -> Self {
        let server = Server::plain();
        let wire = Wire::of(server.port);
        for sub in ["etc/registries.conf.d", "var"] {
            std::fs::create_dir_all(dir.join(sub)).expect("a new directory");
        }
        let policy = r#"{"default": [{"type": "insecureAcceptAnything"}]}"#;
        std::fs::write(dir.join("etc/policy.json"), policy).expect("a new file");
        let registry = format!("[[registry]]\nlocation = '127.0.0.1:{}'\ninsecure = true\n", wire.port);
        std::fs::write(dir.join("etc/registries.conf.d/it.conf"), registry).expect("a new file");
        let manifest = format!(
            "group = 'web'\n[[container]]\nname = 'web'\nimage = 'oci:{}:{number}'\n\
             update = 'docker://127.0.0.1:{}/web:stable'\n",
            set.dir().display(),
            wire.port
        );
        let root = Root::small();
        Compose::into(&root).manifest(manifest).add_launcher().run().expect_ok();
        Self { root, dir, server, wire }
    }

    /// Updates to an image of the set; tells how many bytes came.
    fn update(&self, set: &Set, number: usize) -> u64 {
        set.push_as(&self.server, number, "web:stable");
        let before = self.wire.came();
        let script = r#"
            mount -t overlay -o "lowerdir=$1:/usr/lib" overlay /usr/lib; mount -t tmpfs -o mode=755 tmpfs /run
            mount --bind "$2/etc" /etc/containers; mount --bind "$2/var" /var/lib/containers
            exec "$3" update web"#;
        let unshare = ["--mount", "--propagation", "private", "bash", "-euc", script, "host"];
        let update = Command::new("unshare").args(unshare).arg(self.root.join("usr/lib"));
        update.arg(&self.dir).arg(Program::Launcher.path()).run().expect_ok();
        self.wire.came() - before
    }
}

/// Goes between a client and a server on loopback and counts what comes from the server.
struct Wire {
    port: u16,
    came: Arc<AtomicU64>,
}

impl Wire {
    fn of(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it listens").port();
        let came = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&came);
        // It ends with the process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let pair =
                    (client.try_clone().expect("a descriptor"), server.try_clone().expect("a descriptor"));
                let counter = Arc::clone(&counter);
                std::thread::spawn(move || pass(pair.1, client, &counter));
                std::thread::spawn(move || pass(pair.0, server, &AtomicU64::new(0)));
            }
        });
        Self { port, came }
    }

    fn came(&self) -> u64 {
        self.came.load(Ordering::SeqCst)
    }
}

/// Passes on what comes until it ends, counted before it is passed on.
fn pass(mut from: TcpStream, mut to: TcpStream, counter: &AtomicU64) {
    let mut buffer = [0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        counter.fetch_add(read as u64, Ordering::SeqCst);
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    to.shutdown(Shutdown::Write).unwrap_or_default();
}
