//! Writes man pages and completions into docs/ (`make manual`).

use std::fs;
use std::io;

use sysctr_tests::{manual, source_dir};

fn main() -> io::Result<()> {
    let docs = source_dir().join("docs");
    for generated in ["man", "completions"] {
        match fs::remove_dir_all(docs.join(generated)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    for (path, text) in manual::documents() {
        let path = docs.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, text)?;
    }
    Ok(())
}
