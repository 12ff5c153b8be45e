//! A node's attributes and number as the kernel wants them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use filesystems::{Kind, NodeId, Stat, Time};
use fuser::{FileAttr, FileType, INodeNo};

/// The kernel's number of the root directory.
const ROOT: u64 = 1;

/// Stands for the number 0, which means "no node" to the kernel.
const NOT_ZERO: u64 = u64::MAX;

/// What `stat` gives as the preferred size of a read, in bytes: one page, as the kernel's own file systems do.
const BLOCK_SIZE: u32 = 4096;

/// The numbers of a tree: a node's own, but that the kernel always calls the root 1.
///
/// The node that has the number 1 and is not the root gets the root's in exchange, so that no two nodes share one.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    root: u64,
}

impl Numbers {
    pub fn new(root: NodeId) -> Self {
        Self { root: root.0 }
    }

    /// The kernel's number of a node.
    pub fn inode(self, node: NodeId) -> INodeNo {
        match self.exchange(node.0) {
            0 => INodeNo(NOT_ZERO),
            number => INodeNo(number),
        }
    }

    /// The node that the kernel calls `inode`.
    pub fn node(self, inode: INodeNo) -> NodeId {
        NodeId(self.exchange(if inode.0 == NOT_ZERO { 0 } else { inode.0 }))
    }

    /// What `st_ino` shows: also for the root the file system's own number.
    pub fn shown(self, node: NodeId) -> INodeNo {
        if node.0 == self.root && self.root != 0 { INodeNo(self.root) } else { self.inode(node) }
    }

    fn exchange(self, number: u64) -> u64 {
        match number {
            n if n == self.root => ROOT,
            ROOT => self.root,
            n => n,
        }
    }
}

/// Whose the nodes are said to be, where the user who mounts says so.
#[derive(Clone, Copy, Debug, Default)]
pub struct Owner {
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// Permission bits that are taken away.
    pub umask: u16,
}

/// The attributes of a node under the number `inode`.
pub fn attributes(inode: INodeNo, stat: &Stat, owner: Owner) -> FileAttr {
    FileAttr {
        ino: inode,
        size: stat.size,
        blocks: stat.blocks,
        atime: system_time(stat.accessed),
        mtime: system_time(stat.modified),
        ctime: system_time(stat.changed),
        crtime: stat.created.map_or(UNIX_EPOCH, system_time),
        kind: file_type(stat.kind),
        perm: stat.permissions & 0o7777 & !owner.umask,
        nlink: stat.links,
        uid: owner.uid.unwrap_or(stat.owner),
        gid: owner.gid.unwrap_or(stat.group),
        rdev: device(stat.device),
        blksize: BLOCK_SIZE,
        flags: 0,
    }
}

/// The attributes with which a name is listed whose node cannot be read: enough for `readdir`, and never kept.
pub fn placeholder(inode: INodeNo, kind: Option<Kind>) -> FileAttr {
    FileAttr {
        ino: inode,
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: file_type(kind.unwrap_or(Kind::File)),
        perm: 0,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK_SIZE,
        flags: 0,
    }
}

pub fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Directory => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        Kind::CharDevice => FileType::CharDevice,
        Kind::BlockDevice => FileType::BlockDevice,
        Kind::Fifo => FileType::NamedPipe,
        Kind::Socket => FileType::Socket,
    }
}

/// The kernel's 32-bit encoding: 12 bits of the major number between the low 8 and the high 12 bits of the minor.
/// See `new_encode_dev` in <https://www.kernel.org/doc/html/latest/> (`include/linux/kdev_t.h`).
fn device((major, minor): (u32, u32)) -> u32 {
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xfff00) << 12)
}

/// Major and minor number of a device that is encoded so.
pub fn device_numbers(device: u32) -> (u32, u32) {
    (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xfff00)
}

/// A point in time; one that `SystemTime` cannot hold becomes the nearest it can.
fn system_time(time: Time) -> SystemTime {
    let whole = Duration::from_secs(time.seconds.unsigned_abs());
    let part = Duration::from_nanos(u64::from(time.nanoseconds.min(999_999_999)));
    let second = if time.seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    second.and_then(|second| second.checked_add(part)).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_a_bijection_with_the_root_at_one() {
        for root in [0, 1, 2, 5, 0xff00_0000_0000_0000] {
            let numbers = Numbers::new(NodeId(root));
            assert_eq!(numbers.inode(NodeId(root)).0, ROOT);
            let nodes = [0, 1, 2, 3, 5, 11, 0xff00_0000_0000_0000, 0xff00_0000_0000_0001];
            let mut seen = std::collections::HashSet::new();
            for node in nodes {
                let inode = numbers.inode(NodeId(node));
                assert_ne!(inode.0, 0, "root {root}, node {node}");
                assert!(seen.insert(inode.0), "root {root}, node {node} shares {inode}");
                assert_eq!(numbers.node(inode).0, node, "root {root}");
            }
        }
    }

    #[test]
    fn times_before_1970_and_far_from_it() {
        let time = |seconds, nanoseconds| system_time(Time { seconds, nanoseconds });
        assert_eq!(time(-2, 800_000_000), UNIX_EPOCH - Duration::from_millis(1200));
        assert_eq!(time(15_032_385_535, 999_999_999), UNIX_EPOCH + Duration::new(15_032_385_535, 999_999_999));
        assert_eq!(time(1, u32::MAX), UNIX_EPOCH + Duration::new(1, 999_999_999));
        assert_eq!(time(i64::MIN, 0), UNIX_EPOCH - Duration::from_secs(1 << 63));
        assert_eq!(time(i64::MAX, 5), UNIX_EPOCH + Duration::new(i64::MAX as u64, 5));
    }

    #[test]
    fn devices_as_the_kernel_packs_them() {
        assert_eq!(device((1, 3)), 0x103);
        assert_eq!(device((259, 0x12345)), 0x1231_0345);
        for numbers in [(1, 3), (259, 0x12345), (0xfff, 0xfffff)] {
            assert_eq!(device_numbers(device(numbers)), numbers);
        }
    }
}
