//! Encrypted volumes that cryptsetup and qemu-img have made, without the kernel: what is inside must be what went in.
#![allow(clippy::unwrap_used)]

mod bitlocker;
mod cryptsetup;
mod hostile;
mod hostile_bitlocker;
mod hostile_qcow;
mod qcow;
mod qemu;
mod written;

use std::path::Path;
use std::sync::Arc;

use images::crypt::{Sealed, recognise};
use images::disk::{HostFile, Memory};
use images::{Disk, Result};

/// The passphrase of every volume here.
const SECRET: &[u8] = b"pass";

/// Bytes of which no two sectors are alike.
fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..len.div_ceil(8)).flat_map(|_| next().to_le_bytes()).take(len).collect()
}

/// Runs a program that must work, and returns what it printed.
#[track_caller]
fn run(program: &str, arguments: &[&str]) -> String {
    toolbox::run(toolbox::command(program).args(arguments))
}

/// Tries a secret on a volume that must be recognised.
fn unlock(disk: Arc<dyn Disk>, header: Option<Arc<dyn Disk>>, secret: &[u8]) -> Result<Option<Arc<dyn Disk>>> {
    let sealed = Sealed { disk, header, name: "inside".to_owned() };
    let container = recognise(sealed.header().as_ref())?.expect("it starts with a header");
    assert_eq!(container.name, "crypto_LUKS");
    (container.unlock)(&sealed, secret)
}

fn file(path: &Path) -> Arc<dyn Disk> {
    Arc::new(HostFile::open(path).unwrap())
}

fn memory(bytes: Vec<u8>) -> Arc<dyn Disk> {
    Arc::new(Memory::new("volume", bytes))
}

/// The volume opens with its secret, and begins with `want`.
#[track_caller]
fn assert_holds(path: &Path, want: &[u8], what: &str) {
    let disk = unlock(file(path), None, SECRET).unwrap().unwrap_or_else(|| panic!("{what}: the secret is right"));
    let mut got = vec![0; want.len()];
    disk.read_at(&mut got, 0).unwrap();
    assert!(got == want, "{what}: the bytes inside are not what went in");
}
