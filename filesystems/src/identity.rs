//! What a volume holds.

/// What a volume holds, found without opening it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The type as fstab and blkid call it: `ext4`, `vfat`, `swap`.
    pub kind: String,
    /// The label, if it has one; bytes, because nothing says that it is text.
    pub label: Option<Vec<u8>>,
    /// The UUID or serial number as blkid prints it: what fstab's `UUID=` means.
    pub uuid: Option<String>,
}
