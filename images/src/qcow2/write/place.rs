//! What a header says that only a writer needs to know.

use std::ops::Range;

use super::super::header::Header;
use super::super::layout::*;

/// Where the refcounts lie.
#[derive(Clone, Copy)]
pub struct Place {
    /// Where the table lies, in bytes, and how many clusters it has.
    pub table: (u64, u32),
    /// The width of a count in bits.
    pub bits: u32,
    /// The size of a cluster: so many bits.
    pub cluster_bits: u32,
}

/// What a writer needs to know of an image.
pub struct Facts {
    pub refcounts: Place,
    /// `autoclear_features`.
    pub autoclear: u64,
    /// Why the image is not written, if it is not.
    pub refused: Option<String>,
    /// What no cluster may be allocated over, whatever the refcounts say, in bytes.
    pub fixed: Vec<Range<u64>>,
}

impl Facts {
    /// Those of this header.
    pub fn of(header: &Header) -> Self {
        let cluster = 1u64 << header.cluster_bits;
        let check = "qemu-img check -r all mends it";
        let refused = if header.corrupt {
            Some(format!("the image is marked as corrupt by a writer, so it is not written: {check}"))
        } else if header.dirty {
            Some(format!("the image was not closed by its last writer, so it is not written: {check}"))
        } else {
            None
        };
        let l1 = header.l1.offset..header.l1.offset.saturating_add(u64::from(header.l1.entries) * 8);
        let snapshots = match header.snapshots {
            0 => 0..0,
            count => {
                let least = u64::from(count) * size_of::<SnapshotEntry>() as u64;
                header.snapshots_offset..header.snapshots_offset.saturating_add(least)
            }
        };
        let (crypto, len) = header.crypto_header.unwrap_or_default();
        let fixed = vec![0..cluster, l1, snapshots, crypto..crypto.saturating_add(len)];
        let refcounts =
            Place { table: header.refcount_table, bits: header.refcount_bits, cluster_bits: header.cluster_bits };
        Self { refcounts, autoclear: header.autoclear, refused, fixed }
    }

    /// Whether some of `bytes` must stay what they are.
    pub fn is_fixed(&self, bytes: &Range<u64>) -> bool {
        self.fixed.iter().any(|fixed| fixed.start < bytes.end && bytes.start < fixed.end)
    }
}
