//! What came before LVM2: recognised, so that it is refused by its name.

/// A format of physical volumes that is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// LVM1, of Linux 2.4.
    Lvm1,
    /// GFS pool.
    Pool,
}

/// What an LVM1 physical volume starts with: `HM`, version 1 or 2, then base and size of the structure itself:
/// `lib/format1/disk-rep.h` of LVM2 before 2.02.178, <https://sourceware.org/git/?p=lvm2.git>.
const LVM1: [[u8; 12]; 2] = [*b"HM\x01\0\0\0\0\0\0\x04\0\0", *b"HM\x02\0\0\0\0\0\0\x04\0\0"];
/// What a pool label starts with, big-endian: `lib/format_pool/disk_rep.h` of the same.
const POOL_MAGIC: [u8; 8] = 0x011670u64.to_be_bytes();

impl Foreign {
    /// What these first bytes of a disk start like.
    pub fn find(start: &[u8]) -> Option<Self> {
        if LVM1.iter().any(|magic| start.starts_with(magic)) {
            Some(Self::Lvm1)
        } else {
            start.starts_with(&POOL_MAGIC).then_some(Self::Pool)
        }
    }

    /// What its tools called it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lvm1 => "LVM1",
            Self::Pool => "GFS pool",
        }
    }
}
