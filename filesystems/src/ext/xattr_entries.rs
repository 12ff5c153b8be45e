//! The entries of extended attributes, as they lie behind one another in an inode or in a block.

use images::{Result, corrupt};
use zerocopy::FromBytes;

use super::layout::XattrEntry;

/// The entries of an area up to the four zero bytes that end them; after an error no more. Values are not looked at.
pub(super) struct Entries<'a> {
    bytes: &'a [u8],
    position: usize,
    /// Where `bytes` lie on the disk, in bytes.
    at: u64,
}

/// An entry, its name, and where it lies on the disk in bytes.
pub(super) type Found<'a> = (&'a XattrEntry, &'a [u8], u64);

impl<'a> Entries<'a> {
    /// Those in `bytes`, which lie at byte `at` of the disk.
    pub fn new(bytes: &'a [u8], at: u64) -> Self {
        Self { bytes, position: 0, at }
    }

    fn entry(&self, rest: &'a [u8]) -> Result<Found<'a>> {
        const WHAT: &str = "extended attribute";
        let at = self.at.saturating_add(self.position as u64);
        let Ok((entry, after)) = XattrEntry::ref_from_prefix(rest) else {
            return Err(corrupt!(WHAT, at, "the entry does not fit into its area"));
        };
        let len = usize::from(entry.e_name_len);
        match after.get(..len) {
            None => Err(corrupt!(WHAT, at, "a name of {len} bytes does not fit into its area")),
            Some(name) if name.contains(&0) => Err(corrupt!(WHAT, at, "a zero byte in the name")),
            Some(name) => Ok((entry, name, at)),
        }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Found<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.position..)?;
        if rest.get(..4).is_none_or(|start| start == [0; 4]) {
            return None;
        }
        let found = self.entry(rest);
        self.position = match &found {
            // At least the 16 bytes of the entry.
            Ok((_, name, _)) => self.position + size_of::<XattrEntry>() + name.len().next_multiple_of(4),
            Err(_) => self.bytes.len(),
        };
        Some(found)
    }
}
