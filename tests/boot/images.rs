//! Images that are made on the spot: a shell with a few programs, and versions of a web server.

use std::path::Path;

use serde_json::json;
use sysctr_tests::{Command, Crafted, Layer, Packing, crafted};

const APPLETS: [&str; 14] = [
    "sh", "httpd", "sleep", "echo", "cat", "touch", "test", "seq", "head", "tail", "grep", "wc", "mkdir",
    "true",
];

fn busybox() -> Layer {
    let program = std::fs::read("/bin/busybox").expect("busybox-static is installed");
    let layer = Layer::new().dir("bin").program("bin/busybox", program);
    APPLETS.iter().fold(layer, |layer, applet| layer.symlink(&format!("bin/{applet}"), "busybox"))
}

fn write(layer: &Layer, script: &str, directory: &Path) {
    let mut image = Crafted::of(&[busybox().bytes(), layer.bytes()], Packing::Gzip);
    image.config["config"] =
        json!({"Entrypoint": ["/bin/sh", "-c"], "Cmd": [script], "StopSignal": "SIGKILL"});
    crafted::write(&image.layout(), directory);
}

/// A shell; containers say what it does by their `args`.
pub fn shell(directory: &Path) {
    write(&Layer::new().dir("data"), "exec sleep 100000", directory);
}

/// A web server that answers `version ANSWER`.
pub fn web(answer: &str, directory: &Path) {
    let page = Layer::new().dir("www").file("www/index.html", format!("version {answer}\n"));
    write(&page, "exec httpd -f -p 127.0.0.1:$PORT -h /www", directory);
}

/// One that ends after a moment.
pub fn broken(directory: &Path) {
    write(&Layer::new().dir("www"), "sleep 0.5; echo no database >&2; exit 3", directory);
}

/// A layout as an archive.
pub fn archive(layout: &Path, file: &Path) {
    let (layout, file) = (format!("oci:{}", layout.display()), format!("oci-archive:{}", file.display()));
    Command::new("skopeo").args(["copy", "-q", &layout, &file]).run().expect_ok();
}
