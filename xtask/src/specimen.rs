//! A tree with one of everything that a Unix file system can hold, the same bytes every time.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, Mode, Timespec, Timestamps, XattrFlags, fallocate, lsetxattr, makedev,
    mknodat, utimensat,
};

use crate::interrupt;

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Names in the one big directory.
    pub many: u32,
    /// The longest target of a symbolic link.
    pub link_max: usize,
    /// The biggest value of an extended attribute.
    pub xattr_max: usize,
    /// Ends of sparse files: how far out they reach.
    pub sparse: u64,
    /// Devices, other owners and attributes that only root may make.
    pub root: bool,
    /// Times beyond 32 bits, and before 1970.
    pub far_times: bool,
}

/// A generator of bytes that no compressor makes smaller: splitmix64.
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..length.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).collect();
        bytes.truncate(length);
        bytes
    }
}

/// Fills an empty directory.
pub fn fill(root: &Path, plan: &Plan) -> Result<()> {
    let steps: [(&str, fn(&Path, &Plan) -> Result<()>); 9] = [
        ("sizes", sizes),
        ("sparse", sparse),
        ("names", names),
        ("links", links),
        ("special", special),
        ("xattrs", xattrs),
        ("owners", owners),
        ("many", many),
        ("times", times),
    ];
    for (name, step) in steps {
        interrupt::check()?;
        let directory = root.join(name);
        fs::create_dir(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
        step(&directory, plan).with_context(|| format!("cannot fill {}", directory.display()))?;
    }
    Ok(())
}

/// A file of noise, written in one go.
pub fn noise_file(path: &Path, seed: u64, size: u64) -> Result<()> {
    let mut noise = Noise::new(seed);
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut left = size;
    while left > 0 {
        let length = left.min(1 << 20);
        file.write_all(&noise.bytes(usize::try_from(length)?))?;
        left -= length;
    }
    file.into_inner()?.sync_all()?;
    Ok(())
}

fn sizes(directory: &Path, _: &Plan) -> Result<()> {
    const KIB: u64 = 1 << 10;
    // Around what fits into an inode, a block, the direct pointers and the first indirect block.
    let edges = [0, 60, 128, 160, 1024, 4096, 12 * KIB, 48 * KIB, 64 * KIB, 268 * KIB, 1036 * KIB, 4144 * KIB];
    for edge in edges {
        for size in [edge.saturating_sub(1), edge, edge + 1] {
            noise_file(&directory.join(format!("{size}-bytes")), size, size)?;
        }
    }
    Ok(())
}

fn sparse(directory: &Path, plan: &Plan) -> Result<()> {
    let mut noise = Noise::new(1);
    let create = |name: &str| {
        OpenOptions::new().read(true).write(true).create_new(true).open(directory.join(name)).context(name.to_owned())
    };
    create("only-a-hole")?.set_len(plan.sparse)?;

    let islands = create("islands")?;
    for at in [0, 300 << 10, 5 << 20, 70 << 20, plan.sparse - 9000] {
        islands.write_all_at(&noise.bytes(5000), at)?;
    }
    islands.set_len(plan.sparse)?;

    let comb = create("every-other-block")?;
    for block in 0..1500 {
        comb.write_all_at(&noise.bytes(4096), block * 8192)?;
    }

    // Where the file system has no unwritten extents, as ext2, these are files of zeros.
    let unwritten = create("unwritten-but-for-the-middle")?;
    allocate(&unwritten, FallocateFlags::empty(), 0, 1 << 20)?;
    unwritten.write_all_at(&noise.bytes(4096), 512 << 10)?;
    let beyond = create("allocated-past-the-end")?;
    beyond.write_all_at(&noise.bytes(100), 0)?;
    allocate(&beyond, FallocateFlags::KEEP_SIZE, 0, 256 << 10)?;
    let punched = create("punched")?;
    punched.write_all_at(&noise.bytes(1 << 20), 0)?;
    allocate(&punched, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 100 << 10, 300 << 10)?;
    Ok(())
}

fn allocate(file: &File, flags: FallocateFlags, offset: u64, length: u64) -> Result<()> {
    match fallocate(file, flags, offset, length) {
        Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
        other => Ok(other?),
    }
}

fn names(directory: &Path, _: &Plan) -> Result<()> {
    let longest = "l".repeat(255);
    let names: [&[u8]; 10] = [
        longest.as_bytes(),
        b"with space",
        b"-dash",
        b"new\nline",
        b"back\\slash",
        b"quote'\"",
        b"\xff\xfe not text \x80",
        "gr\u{fc}n \u{1f600}".as_bytes(),
        b"Case",
        b"...",
    ];
    for name in names {
        fs::write(directory.join(OsStr::from_bytes(name)), name)?;
    }
    let mut deep = directory.to_owned();
    for depth in 0..60 {
        deep.push(format!("deep-{depth}"));
        fs::create_dir(&deep)?;
    }
    fs::write(deep.join("bottom"), "reached\n")?;
    Ok(())
}

fn links(directory: &Path, plan: &Plan) -> Result<()> {
    let original = directory.join("original");
    fs::write(&original, "one file, many names\n")?;
    fs::create_dir(directory.join("elsewhere"))?;
    for number in 0..20 {
        fs::hard_link(&original, directory.join(format!("name-{number}")))?;
    }
    fs::hard_link(&original, directory.join("elsewhere/another"))?;
    for length in [1, 59, 60, 61, 200, plan.link_max] {
        symlink("t".repeat(length), directory.join(format!("link-{length}")))?;
    }
    symlink("original", directory.join("relative"))?;
    symlink("../links/relative", directory.join("chain"))?;
    symlink("/etc/passwd", directory.join("absolute"))?;
    symlink("circle", directory.join("circle"))?;
    symlink(OsStr::from_bytes(b"\xff"), directory.join("not-text"))?;
    Ok(())
}

fn special(directory: &Path, plan: &Plan) -> Result<()> {
    let node = |name: &str, kind, mode, device| {
        mknodat(CWD, directory.join(name), kind, Mode::from_raw_mode(mode), device).with_context(|| name.to_owned())
    };
    node("fifo", FileType::Fifo, 0o600, 0)?;
    drop(UnixListener::bind(directory.join("socket"))?);
    if plan.root {
        node("null", FileType::CharacterDevice, 0o666, makedev(1, 3))?;
        node("disk", FileType::BlockDevice, 0o660, makedev(8, 1))?;
        // Numbers beyond 255 are stored in another form.
        node("wide", FileType::BlockDevice, 0o660, makedev(259, 0x12345))?;
        node("wide-char", FileType::CharacterDevice, 0o600, makedev(4095, 0xfffff))?;
    }
    // Who is not root cannot read his own file without the owner's read bit, and the walk reads all.
    let readable = |mode: &u32| plan.root || mode & 0o400 != 0;
    for mode in [0o000, 0o111, 0o400, 0o644, 0o1777, 0o2755, 0o4755, 0o7777].into_iter().filter(readable) {
        let path = directory.join(format!("mode-{mode:04o}"));
        fs::write(&path, "mode\n")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    fs::create_dir(directory.join("closed"))?;
    fs::write(directory.join("closed/inside"), "for the owner\n")?;
    if plan.root {
        fs::set_permissions(directory.join("closed"), fs::Permissions::from_mode(0o000))?;
    }
    Ok(())
}

fn xattrs(directory: &Path, plan: &Plan) -> Result<()> {
    let set = |path: &Path, name: &str, value: &[u8]| {
        lsetxattr(path, name, value, XattrFlags::empty()).with_context(|| format!("{name} of {}", path.display()))
    };
    let mut noise = Noise::new(2);
    for (name, count, length) in [("small", 1, 8), ("empty", 1, 0), ("several", 15, 20), ("big", 1, plan.xattr_max)] {
        let path = directory.join(name);
        fs::write(&path, name)?;
        for number in 0..count {
            set(&path, &format!("user.{name}.{number}"), &noise.bytes(length))?;
        }
    }
    // Two files with the same attributes share a block of them.
    for name in ["shared-1", "shared-2"] {
        fs::write(directory.join(name), name)?;
        set(&directory.join(name), "user.shared", &Noise::new(3).bytes(600))?;
    }
    let with_list = directory.join("directory");
    fs::create_dir(&with_list)?;
    set(&with_list, "user.directory", b"on a directory")?;
    set(
        &with_list,
        "system.posix_acl_default",
        &acl(&[(1, 7, NONE), (4, 5, NONE), (8, 7, 1001), (16, 7, NONE), (32, 0, NONE)]),
    )?;
    let listed = directory.join("acl");
    fs::write(&listed, "acl\n")?;
    set(
        &listed,
        "system.posix_acl_access",
        &acl(&[(1, 6, NONE), (2, 4, 1000), (2, 6, 70000), (4, 4, NONE), (16, 6, NONE), (32, 0, NONE)]),
    )?;
    if plan.root {
        set(&listed, "trusted.overlay.opaque", b"y")?;
        let program = directory.join("capable");
        fs::write(&program, "#!/bin/true\n")?;
        // Version 2, effective, CAP_NET_RAW: what ping has.
        set(&program, "security.capability", &[1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])?;
        symlink("capable", directory.join("link"))?;
        set(&directory.join("link"), "trusted.on-a-link", b"yes")?;
    }
    Ok(())
}

/// The id of ACL entries that name nobody.
const NONE: u32 = u32::MAX;

/// A POSIX ACL as the attribute holds it, version 2: tag, permissions and id of each entry.
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend([tag.to_le_bytes(), permissions.to_le_bytes()].concat());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

fn owners(directory: &Path, plan: &Plan) -> Result<()> {
    if !plan.root {
        return Ok(());
    }
    for (uid, gid) in [(0, 0), (1000, 1000), (65534, 65534), (65536, 70000), (1, 4_294_967_290), (4_294_967_290, 2)] {
        let path = directory.join(format!("{uid}-{gid}"));
        fs::write(&path, "owned\n")?;
        lchown(&path, Some(uid), Some(gid))?;
        symlink("x", path.with_extension("link"))?;
        lchown(path.with_extension("link"), Some(uid), Some(gid))?;
    }
    Ok(())
}

fn many(directory: &Path, plan: &Plan) -> Result<()> {
    for number in 0..plan.many {
        let path = directory.join(format!("entry-{number:06}-of-many"));
        // A few have content; most of the work is in the directory itself.
        if number % 16 == 0 { fs::write(path, format!("{number}\n"))? } else { File::create(path).map(drop)? }
    }
    // A directory whose blocks are mostly free again.
    let emptied = directory.join("emptied");
    fs::create_dir(&emptied)?;
    for number in 0..500 {
        fs::write(emptied.join(format!("to-be-removed-{number}")), "")?;
    }
    for number in (0..500).filter(|number| number % 50 != 7) {
        fs::remove_file(emptied.join(format!("to-be-removed-{number}")))?;
    }
    Ok(())
}

fn times(directory: &Path, plan: &Plan) -> Result<()> {
    // Before 1970, the ends of 32 bits, and the epoch bits beyond: 2038, 2106, 2446.
    let seconds = [-0x8000_0000, -1, 0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x1_0000_0000, 0x3_7fff_ffff];
    let near = |seconds: &i64| (0..=0x7fff_ffff).contains(seconds);
    for (index, seconds) in seconds.into_iter().filter(|s| plan.far_times || near(s)).enumerate() {
        let path = directory.join(format!("at-{seconds}"));
        fs::write(&path, "")?;
        stamp(&path, seconds, 123_456_789 + i64::try_from(index)?)?;
    }
    fs::create_dir(directory.join("old-directory"))?;
    stamp(&directory.join("old-directory"), 946_684_799, 999_999_999)
}

/// Sets both times of a path, not of what a link points to.
pub fn stamp(path: &Path, seconds: i64, nanoseconds: i64) -> Result<()> {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}
