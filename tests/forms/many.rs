//! Disks in very many files: more than a process may have open when it starts.

use std::os::unix::fs::FileExt;
use std::{fs, fs::File};

use crate::program::Point;

/// More than the usual soft limit of open files, 1024.
const EXTENTS: u32 = 1100;
/// Sectors of each.
const SECTORS: u32 = 128;

#[test]
fn more_extents_than_the_soft_limit_of_open_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"custom\"\n".to_owned();
    for number in 0..EXTENTS {
        let name = format!("part-{number:04}.img");
        let bytes = number.to_le_bytes().repeat(SECTORS as usize * 128);
        fs::write(folder.path().join(&name), bytes).unwrap();
        text += &format!("RW {SECTORS} FLAT \"{name}\" 0\n");
    }
    let image = folder.path().join("many.vmdk");
    fs::write(&image, text).unwrap();
    let point = Point::new();
    let script = "ulimit -S -n 1024; exec \"$0\" -a \"$1\" --blocks \"$2\"";
    let program = env!("CARGO_BIN_EXE_imgmount");
    let output = toolbox::command("sh").args(["-c", script, program]).arg(&image).arg(point.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let file = File::open(point.join("sda")).unwrap();
    let size = u64::from(SECTORS) * 512;
    assert_eq!(file.metadata().unwrap().len(), u64::from(EXTENTS) * size);
    for number in 0..EXTENTS {
        let mut word = [0; 4];
        file.read_exact_at(&mut word, u64::from(number) * size).unwrap();
        assert_eq!(u32::from_le_bytes(word), number);
    }
}
