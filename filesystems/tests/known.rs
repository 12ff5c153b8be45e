//! What the real tools make is recognised as blkid recognises it.

#![allow(clippy::unwrap_used, reason = "a test panics")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use filesystems::{Identity, Options, identify, open};
use images::Disk;
use images::disk::HostFile;

/// Runs a tool.
fn run(program: &str, args: &[&str]) -> Vec<u8> {
    let output = toolbox::command(program).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() || program == "blkid", "{program} {args:?}: {text}");
    output.stdout
}

fn blank(dir: &Path, name: &str, megabytes: u64) -> PathBuf {
    let path = dir.join(name);
    File::create(&path).unwrap().set_len(megabytes << 20).unwrap();
    path
}

fn disk(path: &Path) -> Arc<dyn Disk> {
    Arc::new(HostFile::new(path, File::open(path).unwrap()).unwrap())
}

fn ours(path: &Path) -> Option<Identity> {
    identify(&disk(path)).unwrap().map(|(_, identity)| identity)
}

/// What blkid says: the udev format quotes nothing that these labels hold.
fn blkid(path: &Path) -> Option<Identity> {
    let output = run("blkid", &["-p", "-o", "export", path.to_str().unwrap()]);
    let text = String::from_utf8(output).unwrap();
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(line.replace('\\', ""))
    };
    let kind = value("TYPE")?;
    Some(Identity { kind, label: value("LABEL").map(String::into_bytes), uuid: value("UUID") })
}

/// Ours and blkid's agree; ours is of this kind, and opening it is refused by its name.
fn agree(path: &Path, kind: &str) -> Identity {
    let (ours, theirs) = (ours(path), blkid(path));
    assert_eq!(ours, theirs);
    refused(path, kind);
    ours.unwrap()
}

fn refused(path: &Path, kind: &str) {
    assert_eq!(ours(path).unwrap().kind, kind);
    let error = open(disk(path), &Options::default()).err().unwrap();
    assert!(matches!(error, images::Error::Unsupported(_)), "{error}");
    assert!(error.to_string().contains(kind), "{error}");
}

#[test]
fn swap_of_every_page_size() {
    let dir = tempfile::tempdir().unwrap();
    for page in ["4096", "8192", "16384", "32768", "65536"] {
        let path = blank(dir.path(), page, 2);
        run("mkswap", &["-p", page, "-L", "my swap", path.to_str().unwrap()]);
        let identity = agree(&path, "swap");
        assert_eq!(identity.label.as_deref(), Some(&b"my swap"[..]));
        assert!(identity.uuid.is_some());
    }
}

#[test]
fn swap_with_a_hibernated_machine() {
    let dir = tempfile::tempdir().unwrap();
    for signature in ["S1SUSPEND", "S2SUSPEND", "ULSUSPEND"] {
        let path = blank(dir.path(), signature, 2);
        run("mkswap", &["-p", "4096", "-L", "h", path.to_str().unwrap()]);
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(format!("{signature}\0").as_bytes(), 4086).unwrap();
        agree(&path, "swsuspend");
    }
}

#[test]
fn linux_file_systems() {
    let dir = tempfile::tempdir().unwrap();
    let cases: [(&str, u64, &[&str]); 6] = [
        ("mkfs.xfs", 300, &["-q", "-L", "an xfs"]),
        ("mkfs.btrfs", 128, &["-q", "-L", "a longer btrfs label"]),
        ("mkfs.f2fs", 64, &["-q", "-l", "f2 label"]),
        ("mkfs.jfs", 32, &["-q", "-L", "jay"]),
        ("mkfs.reiserfs", 64, &["-q", "-ff", "-l", "reiser"]),
        ("mke2fs", 8, &["-q", "-O", "journal_dev"]),
    ];
    for (program, megabytes, args) in cases {
        let path = blank(dir.path(), program, megabytes);
        run(program, &[args, &[path.to_str().unwrap()]].concat());
        match program {
            // The ext driver's.
            "mke2fs" => assert!(ours(&path).is_none_or(|identity| identity.kind == "jbd")),
            _ => assert!(agree(&path, &program[5..]).label.is_some(), "{program}"),
        }
    }
}

#[test]
fn packed_trees() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("file"), vec![7; 100_000]).unwrap();
    let out = |name: &str| dir.path().join(name);
    let tree = tree.to_str().unwrap();
    run("mksquashfs", &[tree, out("squash").to_str().unwrap(), "-quiet", "-no-progress"]);
    agree(&out("squash"), "squashfs");
    run("mkfs.erofs", &[out("erofs").to_str().unwrap(), tree]);
    assert!(agree(&out("erofs"), "erofs").uuid.is_some());
    run("genisoimage", &["-quiet", "-V", "MY_DISC", "-o", out("iso").to_str().unwrap(), tree]);
    assert_eq!(agree(&out("iso"), "iso9660").label.as_deref(), Some(&b"MY_DISC"[..]));
    run("genisoimage", &["-quiet", "-udf", "-o", out("bridge").to_str().unwrap(), tree]);
    refused(&out("bridge"), "udf");
    assert_eq!(blkid(&out("bridge")).unwrap().kind, "udf");
    run("mkudffs", &["--utf8", blank(dir.path(), "udf", 8).to_str().unwrap()]);
    refused(&out("udf"), "udf");
    assert_eq!(blkid(&out("udf")).unwrap().kind, "udf");
}

#[test]
fn windows_file_systems() {
    let dir = tempfile::tempdir().unwrap();
    for cluster in ["4096", "512", "65536", "131072"] {
        let path = blank(dir.path(), cluster, 16);
        run("mkfs.ntfs", &["-q", "-F", "-f", "-c", cluster, "-L", "an ntfs", path.to_str().unwrap()]);
        assert!(agree(&path, "ntfs").label.is_some(), "{cluster}");
    }
    for cluster in ["4K", "64K"] {
        let path = blank(dir.path(), cluster, 16);
        run("mkfs.exfat", &["-c", cluster, "-L", "an exfat", path.to_str().unwrap()]);
        assert!(agree(&path, "exfat").label.is_some(), "{cluster}");
    }
    let path = blank(dir.path(), "none", 16);
    run("mkfs.exfat", &[path.to_str().unwrap()]);
    assert_eq!(agree(&path, "exfat").label, None);
}

#[test]
fn encrypted_volumes() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    fs::write(&key, "secret").unwrap();
    for version in ["luks1", "luks2"] {
        let path = blank(dir.path(), version, 32);
        let (path_text, key) = (path.to_str().unwrap(), key.to_str().unwrap());
        let mut args =
            vec!["luksFormat", "-q", "--type", version, "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
        if version == "luks2" {
            args.extend(["--label", "vault"]);
        }
        args.extend([path_text, key]);
        run("cryptsetup", &args);
        let identity = agree(&path, "crypto_LUKS");
        assert_eq!(identity.label.is_some(), version == "luks2");
    }
    let (data, hash) = (blank(dir.path(), "data", 1), blank(dir.path(), "hash", 1));
    run("veritysetup", &["format", data.to_str().unwrap(), hash.to_str().unwrap()]);
    agree(&hash, "DM_verity_hash");
}

/// The tool wants the kernel's driver, so superblocks are laid out here, and blkid judges them.
#[test]
fn raid_members() {
    let dir = tempfile::tempdir().unwrap();
    let size: u64 = (16 << 20) + 5 * 512;
    let at_end = (size / 512 - 16) / 8 * 8 * 512;
    for (version, offset) in [("1.0", at_end), ("1.1", 0), ("1.2", 4096)] {
        let path = blank(dir.path(), version, 0);
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(size).unwrap();
        let mut superblock = [0u8; 256];
        superblock[..4].copy_from_slice(&0xa92b_4efcu32.to_le_bytes());
        superblock[4] = 1;
        superblock[16..32].copy_from_slice(b"0123456789abcdef");
        superblock[32..37].copy_from_slice(b"box:0");
        superblock[144..152].copy_from_slice(&(offset / 512).to_le_bytes());
        // The checksum: all words but itself, folded into 32 bits.
        let sum: u64 = superblock.chunks(4).map(|word| u64::from(u32::from_le_bytes(word.try_into().unwrap()))).sum();
        let sum = (sum & 0xffff_ffff) as u32 + (sum >> 32) as u32;
        superblock[216..220].copy_from_slice(&sum.to_le_bytes());
        file.write_all_at(&superblock, offset).unwrap();
        let identity = agree(&path, "linux_raid_member");
        assert_eq!(identity.label.as_deref(), Some(&b"box:0"[..]), "{version}");
        if version == "1.0" {
            // Half of a mirror: the file system shows through, and the array is what counts.
            file.write_all_at(b"XFSB", 0).unwrap();
            assert_eq!(ours(&path).unwrap().kind, "linux_raid_member");
        }
    }
    let path = blank(dir.path(), "0.90", 0);
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(size).unwrap();
    let words: [u32; 16] = [0xa92b_4efc, 0, 90, 0, 0, 0x1234_5678, 1, 1, 1, 2, 2, 0, 0, 0x9abc_def0, 7, 8];
    let superblock: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    file.write_all_at(&superblock, (size & !0xffff) - 0x10000).unwrap();
    assert!(agree(&path, "linux_raid_member").uuid.is_some());
}

/// Kinds whose tools are not packaged: the signature laid out here, judged by blkid where it needs no more than that.
/// With the signature destroyed they are no longer recognised.
#[test]
fn laid_out_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    const ID: &[u8] = b"\x44\x33\x22\x11\x88\x77\x66\x55";
    let cases: [(&str, bool, &[(u64, &[u8])]); 11] = [
        ("apfs", true, &[(32, b"NXSB"), (24, b"\x01\0\0\x80"), (36, b"\0\x10"), (72, &[5; 16])]),
        ("ufs", true, &[(65536 + 1372, b"\x19\x01\x54\x19"), (65536 + 144, ID), (65536 + 680, b"my ufs")]),
        ("ufs", true, &[(8192 + 1372, b"\x54\x19\x01"), (8192 + 144, ID)]),
        ("VMFS_volume_member", true, &[(1 << 20, b"\x0d\xd0\x01\xc0")]),
        ("bcache", true, &[(4120, BCACHE), (4104, b"\x08"), (4136, &[0x11; 16])]),
        ("swsuspend", true, &[(4086, b"LINHIB0001")]),
        ("squashfs3", true, &[(0, b"sqsh")]),
        ("VMFS", false, &[(2 << 20, b"\x5e\xf1\xab\x2f")]),
        ("hfsplus", false, &[(1024, b"H+\0\x04")]),
        ("BitLocker", true, &[(3, b"-FVE-FS-"), (0, b"\xeb\x52\x90")]),
        (
            "zfs_member",
            false,
            &[(0x4000, b"\x01\x01"), (0x20000, ZFS), (0x20400, ZFS), (0x21000, ZFS), (0x23c00, ZFS_BIG)],
        ),
    ];
    for (kind, blkid_knows, patches) in cases {
        let path = blank(dir.path(), kind, 4);
        let file = File::options().write(true).open(&path).unwrap();
        for (offset, bytes) in patches {
            file.write_all_at(bytes, *offset).unwrap();
        }
        if blkid_knows {
            agree(&path, kind);
        }
        refused(&path, kind);
        let (offset, bytes) = patches[0];
        file.write_all_at(&vec![b'x'; bytes.len()], offset).unwrap();
        assert_eq!(ours(&path), None, "{kind}");
    }
}

const BCACHE: &[u8] = b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81";
const ZFS: &[u8] = b"\x0c\xb1\xba";
const ZFS_BIG: &[u8] = b"\0\0\0\0\0\xba\xb1\x0c";

#[test]
fn two_kinds_of_contents_are_ambiguous() {
    let dir = tempfile::tempdir().unwrap();
    let path = blank(dir.path(), "both", 1);
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(b"XFSB", 0).unwrap();
    file.write_all_at(b"SWAPSPACE2", 4086).unwrap();
    let error = identify(&disk(&path)).err().unwrap();
    assert!(error.to_string().ends_with("looks like swap and like xfs"), "{error}");
}

#[test]
fn every_length_of_a_short_disk_is_judged() {
    let dir = tempfile::tempdir().unwrap();
    let path = blank(dir.path(), "short", 1);
    run("mkswap", &[path.to_str().unwrap()]);
    let bytes = fs::read(&path).unwrap();
    for len in (0..200).chain((200..140_000).step_by(509)) {
        let disk: Arc<dyn Disk> = Arc::new(images::disk::Memory::new("m", bytes[..len].to_vec()));
        assert_eq!(identify(&disk).unwrap().is_some(), len >= 4096, "{len}");
    }
}
