//! BSD disk labels, Apple partition maps and hybrid MBRs that fdisk, parted and sgdisk made. The numbers are those that
//! Linux 6.1 gives the partitions of the same disks.

use std::io::Write;
use std::process::Stdio;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::tools::Made;
use super::*;

/// Number, start and size in sectors, and kind.
fn described(disk: Arc<dyn Disk>, scheme: &str) -> Vec<String> {
    let line = |volume: &Volume| {
        let start = volume.start.unwrap();
        assert!(volume.disk.is_ok() && volume.disk.as_ref().unwrap().size() == volume.size);
        format!("{} {} {} {}", number(volume), start / 512, volume.size / 512, volume.kind)
    };
    let found = volumes(disk, scheme);
    found.iter().filter(|volume| !volume.frame).map(line).collect()
}

/// An MBR with a slice of this type, a logical partition, and in the slice a label that fdisk made.
fn sliced(os_type: &str) -> Made {
    let made = Made::new(16 * MIB, &[]);
    let script = format!("label: dos\n2048,20480,{os_type}\n22528,8192,5\n24576,4096,83\n");
    made.sfdisk("", &made.path(), &script);
    let mut fdisk = toolbox::command("fdisk");
    fdisk.arg(made.path()).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut fdisk = fdisk.spawn().unwrap();
    // Two partitions that overlap, and `c` and `d` for the slice and the disk, which fdisk makes of no type.
    fdisk.stdin.take().unwrap().write_all(b"b\ny\nn\na\n\n+4M\nn\nb\n\n+3M\nt\na\n7\nt\nb\n1\nw\nq\n").unwrap();
    fdisk.wait().unwrap();
    made
}

#[test]
fn partitions_in_a_slice_come_after_the_logical_ones() {
    for (os_type, name) in [("a5", "FreeBSD"), ("a6", "OpenBSD"), ("a9", "NetBSD")] {
        let made = sliced(os_type);
        let want = [
            format!("1 2048 20480 {name}"),
            "5 24576 4096 Linux".to_owned(),
            "6 2048 8193 BSD FFS".to_owned(),
            "7 2048 6145 BSD swap".to_owned(),
        ];
        assert_eq!(described(made.disk(), "mbr"), want, "{name}");
    }
}

/// The partitions of the label of a slice, after this was done to it.
fn changed(change: impl Fn(&mut [u8])) -> Vec<String> {
    static SLICED: LazyLock<Vec<u8>> = LazyLock::new(|| std::fs::read(sliced("a5").path()).unwrap());
    let mut bytes = SLICED.clone();
    let label = &mut bytes[2049 * 512..][..404];
    change(label);
    described(memory(&bytes), "mbr").split_off(2)
}

#[test]
fn a_label_is_read_as_linux_reads_it() {
    let (a, b, c) = (148, 164, 180);
    assert_eq!(changed(|_| {}).len(), 2);
    // FreeBSD counts from the start of the slice if `c` begins at 0.
    let relative = changed(|label| {
        label[c + 4..c + 8].fill(0);
        label[a + 4..a + 8].copy_from_slice(&16u32.to_le_bytes());
        label[b + 4..b + 8].copy_from_slice(&8192u32.to_le_bytes());
    });
    assert_eq!(relative, ["6 2064 8193 BSD FFS", "7 10240 6145 BSD swap"]);
    // What is the slice itself, or not in it, is left out, and takes no number.
    let outside = changed(|label| label[a + 4..a + 8].copy_from_slice(&2047u32.to_le_bytes()));
    assert_eq!(outside, ["6 2048 6145 BSD swap"]);
    let whole = changed(|label| label[a..a + 4].copy_from_slice(&20480u32.to_le_bytes()));
    assert_eq!(whole, ["6 2048 6145 BSD swap"]);
    assert_eq!(changed(|label| label[138] = 1).len(), 1);
    assert!(changed(|label| label[138] = 17).is_empty(), "more than there can be");
    assert!(changed(|label| label[132] = 0).is_empty(), "only one of the magic numbers");
}

#[test]
fn a_label_on_a_whole_disk() {
    let line = "parted --script DISK mklabel bsd mkpart ext2 1MiB 8MiB mkpart linux-swap 8MiB 20MiB";
    let made = Made::new(32 * MIB, &[line]);
    let found = described(made.disk(), "bsd");
    assert_eq!(found, ["1 2048 14336 FAT", "2 16384 24576 BSD swap"], "parted has no other type for ext2");
    // Where PCs have it: in the second sector.
    let mut bytes = std::fs::read(made.path()).unwrap();
    bytes.copy_within(64..468, 512);
    bytes[..512].fill(0);
    assert_eq!(described(memory(&bytes), "bsd"), found);
    // An MBR or a GPT is more than a label that is left.
    let made = Made::new(32 * MIB, &["sgdisk --clear --new=1:0:+8M DISK"]);
    let mut other = std::fs::read(made.path()).unwrap();
    other[64..400].copy_from_slice(&bytes[512..848]);
    assert_eq!(table(memory(&other)).0, Some("gpt"));
}

const MAC: &str = "parted --script DISK mklabel mac mkpart first hfs 1MiB 8MiB mkpart second ext2 8MiB 20MiB";

#[test]
fn every_block_of_an_apple_map_is_a_partition() {
    let made = Made::new(32 * MIB, &[MAC]);
    let mut found = described(made.disk(), "apple");
    // parted leaves the order to chance.
    found.sort();
    let want = [
        "1 1 63 Apple_partition_map",
        "2 2048 14336 Apple_HFS",
        "3 16384 24576 Apple_UNIX_SVR2",
        "4 64 1984 Apple_Free",
        "5 40960 24576 Apple_Free",
    ];
    assert_eq!(found, want);
    let labels: Vec<_> = volumes(made.disk(), "apple").into_iter().filter_map(|volume| volume.label).collect();
    assert_eq!(labels[1..3], ["first", "second"]);
}

#[test]
fn blocks_of_2048_bytes() {
    let small = std::fs::read(Made::new(32 * MIB, &[MAC]).path()).unwrap();
    // The same map, each block of which is four times as long.
    let mut bytes = vec![0; 32 * MIB as usize];
    bytes[..512].copy_from_slice(&small[..512]);
    bytes[2..4].copy_from_slice(&2048u16.to_be_bytes());
    for number in 1..=5 {
        bytes[2048 * number..][..512].copy_from_slice(&small[512 * number..][..512]);
        for field in [8, 12] {
            let at = 2048 * number + field;
            let blocks = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
            bytes[at..at + 4].copy_from_slice(&(blocks / 4).to_be_bytes());
        }
    }
    let found = described(memory(&bytes), "apple");
    assert_eq!(found[1], "2 2048 14336 Apple_HFS");
    assert_eq!(found.len(), 5);
}

#[test]
fn an_apple_map_beside_another_table_is_passed_over() {
    let map = std::fs::read(Made::new(32 * MIB, &[MAC]).path()).unwrap();
    let made = Made::new(32 * MIB, &[]);
    made.sfdisk("", &made.path(), "label: dos\n,4M,L\n");
    let mut both = map;
    both[440..512].copy_from_slice(&std::fs::read(made.path()).unwrap()[440..512]);
    assert_eq!(table(memory(&both)).0, Some("mbr"), "as Linux has it");
}

#[test]
fn a_gpt_wins_over_a_hybrid_mbr() {
    let new = "sgdisk --clear --new=1:2048:+4M --new=2:0:+4M --new=3:0:+4M --typecode=1:ef00";
    for hybrid in ["--hybrid=1:2", "--hybrid=1:2:3", "--hybrid=2:EE"] {
        let made = Made::new(32 * MIB, &[&format!("{new} DISK"), &format!("sgdisk {hybrid} DISK")]);
        let mbr = std::fs::read(made.path()).unwrap();
        let types: Vec<u8> = (0..4).map(|slot| mbr[450 + 16 * slot]).filter(|os_type| *os_type != 0).collect();
        assert!(types.len() > 1 && types.contains(&0xee), "{hybrid}: {types:x?}");
        made.assert_like_sfdisk("gpt");
        assert_eq!(volumes(made.disk(), "gpt").len(), 3, "{hybrid}");
    }
}

/// Reads whatever table is found.
fn walk(bytes: &[u8]) {
    for volume in table(memory(bytes)).1.unwrap_or_default() {
        if let Ok(disk) = &volume.disk {
            assert_eq!(disk.size(), volume.size);
            let len = disk.size().min(512) as usize;
            disk.read_at(&mut vec![0; len], disk.size() - len as u64).unwrap();
        }
    }
}

#[test]
fn tables_that_lie_have_an_answer() {
    let started = Instant::now();
    let mut whole = vec![0; 8 << 10];
    let sliced = std::fs::read(sliced("a5").path()).unwrap();
    whole[512..916].copy_from_slice(&sliced[2049 * 512..][..404]);
    let mut apple = std::fs::read(Made::new(32 * MIB, &[MAC]).path()).unwrap();
    apple.truncate(8 << 10);
    // An MBR whose slice is short.
    let mut short = sliced[..8 << 10].to_vec();
    short[454..462].copy_from_slice(&[[4, 0, 0, 0], [12, 0, 0, 0]].concat());
    short[470..510].fill(0);
    short[5 * 512..][..404].copy_from_slice(&sliced[2049 * 512..][..404]);
    for (disk, range) in [(&whole, 512..916), (&apple, 0..1024), (&short, 2560..2964)] {
        for at in range.clone() {
            for value in [0, 1, 0x80, 0xff] {
                let mut bytes = disk.clone();
                bytes[at] = value;
                walk(&bytes);
            }
        }
        for len in [0, 1, 511, 512, 513, 1023, 1024, 2560, 2900, 4096] {
            walk(&disk[..len]);
        }
    }
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_label_and_any_map(label in prop::collection::vec(any::<u8>(), 404), map in prop::collection::vec(any::<u8>(), 4096)) {
        let mut bytes = vec![0; 64 << 10];
        bytes[512..916].copy_from_slice(&label);
        bytes[512..516].copy_from_slice(&0x8256_4557u32.to_le_bytes());
        bytes[644..648].copy_from_slice(&0x8256_4557u32.to_le_bytes());
        bytes[651] = 0;
        walk(&bytes);
        let mut bytes = map;
        bytes[..4].copy_from_slice(&[b'E', b'R', 2, 0]);
        for block in bytes[512..].chunks_mut(512) {
            block[..2].copy_from_slice(b"PM");
            block[4..7].fill(0);
        }
        walk(&bytes);
    }
}
