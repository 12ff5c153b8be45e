//! Images under gzip, xz, zstd and bzip2, as every tool that writes them does.

#![allow(clippy::unwrap_used, reason = "all of this is tests, helpers included")]

mod budget;
#[allow(dead_code, reason = "the tests of other formats use more of it")]
#[path = "../disks/check.rs"]
mod check;
mod content;
mod damage;
mod nested;
#[path = "../tools/mod.rs"]
mod tools;

use tools::{Folder, patterned};

/// What each format is called, and a command that writes it to standard output.
const FORMATS: [(&str, &str); 4] =
    [("gzip", "gzip -6c"), ("xz", "xz -1c"), ("zstd", "zstd -qc"), ("bzip2", "bzip2 -c")];

/// Runs a line of the shell in the folder.
fn shell(folder: &Folder, line: &str) {
    folder.run_words(&["bash", "-euo", "pipefail", "-c", line]);
}

/// What `line` writes to its standard output, of the file `source` with these bytes.
fn packed(source: &[u8], line: &str) -> Vec<u8> {
    let folder = Folder::new();
    folder.write("source", source);
    shell(&folder, &format!("({line}) > packed"));
    folder.read("packed")
}

/// Bytes as a guest's disk has them, which start like no image.
fn guest(len: usize) -> Vec<u8> {
    let mut bytes = patterned(11, len);
    bytes[..64.min(len)].fill(0xa5);
    bytes
}
