//! What other programs say of a volume.

use std::process::Command;
use std::sync::Arc;

use images::Disk;
use images::disk::Memory;

/// All bytes of a disk.
pub fn bytes(disk: &dyn Disk) -> Vec<u8> {
    let mut bytes = vec![0; disk.size() as usize];
    disk.read_at(&mut bytes, 0).unwrap();
    bytes
}

pub fn memory(bytes: Vec<u8>) -> Arc<dyn Disk> {
    Arc::new(Memory::new("m", bytes))
}

/// A file of the host with these bytes.
pub fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    file
}

/// Runs a tool over a volume in UTC, and gives what it prints.
pub fn run(program: &str, image: &tempfile::NamedTempFile, args: &[&str]) -> String {
    let mut command: Command = toolbox::command(program);
    command.args(["-i", image.path().to_str().unwrap()]).args(args).env("TZ", "UTC").env("MTOOLS_SKIP_CHECK", "1");
    toolbox::run(&mut command)
}

/// Fails unless fsck.fat finds nothing wrong.
pub fn assert_clean(bytes: &[u8], when: &str) {
    let image = file(bytes);
    let done = toolbox::command("fsck.fat").arg("-nv").arg(image.path()).output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{when}: {text}{}", String::from_utf8_lossy(&done.stderr));
}
