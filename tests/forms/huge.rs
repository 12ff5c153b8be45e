//! Images of two tebibytes: opened and read at both ends within a bound of memory, whatever the format.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use crate::program::{Point, tool};

/// What the serving process may have had in memory at its peak, in bytes.
const MEMORY: u64 = 32 << 20;
/// What is written, in bytes.
const PIECE: usize = 64 << 10;

/// The program's peak so far, in bytes.
fn peak(process: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Makes an empty image of `size` with pieces far apart, and reads them back.
fn huge(format: &str, options: &str, size: u64) {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("huge").to_str().unwrap().to_owned();
    let mut create = toolbox::command("qemu-img");
    create.args(["create", "-q", "-f", format]).args(options.split_whitespace()).args([&image, &size.to_string()]);
    toolbox::run(&mut create);
    let places = [0, 3 << 30, size / 2, size - (5 << 30), size - PIECE as u64];
    let mut write = vec!["qemu-io".to_owned(), "-f".into(), format.into()];
    for (number, at) in places.iter().enumerate() {
        write.extend(["-c".to_owned(), format!("write -P {} {at} {PIECE}", number + 1)]);
    }
    write.push(image.clone());
    tool(&write.iter().map(String::as_str).collect::<Vec<_>>());

    let pid = folder.path().join("pid");
    let point = Point::mount(&["-a", &image, "--blocks", "--pid-file", pid.to_str().unwrap()]);
    let file = File::open(point.join("sda")).unwrap();
    assert_eq!(file.metadata().unwrap().len(), size, "{format} {options}");
    let mut bytes = vec![0; PIECE];
    for (number, at) in places.iter().enumerate() {
        file.read_exact_at(&mut bytes, *at).unwrap();
        assert!(bytes.iter().all(|byte| usize::from(*byte) == number + 1), "{format} {options} at {at}");
    }
    for at in [1 << 30, size / 2 - (1 << 30), size - (1 << 30)] {
        file.read_exact_at(&mut bytes, at).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 0), "{format} {options} at {at}");
    }
    let peak = peak(fs::read_to_string(pid).unwrap().trim());
    assert!(peak <= MEMORY, "{format} {options}: {peak} bytes resident at the peak");
}

const TIB: u64 = 1 << 40;

#[test]
fn two_tebibytes_of_each_format_within_32_mebibytes() {
    for (format, options, size) in [
        ("raw", "", 2 * TIB),
        ("qcow2", "", 2 * TIB),
        ("qcow2", "-o cluster_size=2M,extended_l2=on", 2 * TIB),
        ("qcow2", "-o cluster_size=4k", 2 * TIB),
        ("vmdk", "", 2 * TIB),
        ("vmdk", "-o subformat=monolithicFlat", 2 * TIB),
        ("vdi", "", 2 * TIB),
        ("vhdx", "", 2 * TIB),
        // The most that a dynamic VHD can have.
        ("vpc", "-o force_size=on", 2040 << 30),
        ("qed", "", 2 * TIB),
        ("qcow", "", 2 * TIB),
        ("parallels", "", 2 * TIB),
    ] {
        huge(format, options, size);
    }
}
