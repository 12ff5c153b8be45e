//! The labels of exFAT and NTFS, which lie in the tree rather than in the boot sector.
//!
//! Layout: [exFAT](https://learn.microsoft.com/en-us/windows/win32/fileio/exfat-specification) sections 3.1 and 7.3,
//! [NTFS](https://flatcap.github.io/linux-ntfs/ntfs/) boot sector, file record and `$VOLUME_NAME`.

use images::{Disk, Result};

use super::{bytes_at, label_utf16};
use crate::length::in_memory;

/// How much of the root directory of exFAT is searched, in bytes: ours; the label is one of the first entries.
const EXFAT_SEARCHED: usize = 4096;
/// The type of a directory entry that holds the label, in use; its length in units follows, then the units.
const VOLUME_LABEL: u8 = 0x83;
const VOLUME_LABEL_MAX: usize = 11;

/// The record of the file `$Volume`, and as much of it as is read.
const VOLUME_RECORD: u64 = 3;
const RECORD: usize = 1024;
const VOLUME_NAME: u64 = 0x60;
const ATTRIBUTES_END: u64 = 0xffff_ffff;

/// An integer of `N` bytes, little-endian.
fn integer<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let mut wide = [0; 8];
    wide[..N].copy_from_slice(bytes.get(at..at.checked_add(N)?)?);
    Some(u64::from_le_bytes(wide))
}

pub(super) fn exfat(disk: &dyn Disk) -> Result<Option<Vec<u8>>> {
    let Some(boot) = bytes_at::<512>(disk, 0)? else { return Ok(None) };
    let Some(root) = exfat_root(&boot) else { return Ok(None) };
    let Some(entries) = bytes_at::<EXFAT_SEARCHED>(disk, root)? else { return Ok(None) };
    for entry in entries.chunks_exact(32) {
        match entry[0] {
            0 => break,
            VOLUME_LABEL => return Ok(label_utf16(&entry[2..][..2 * VOLUME_LABEL_MAX.min(entry[1].into())])),
            _ => {}
        }
    }
    Ok(None)
}

/// Where the root directory begins, in bytes.
fn exfat_root(boot: &[u8; 512]) -> Option<u64> {
    let (heap, cluster) = (integer::<4>(boot, 88)?, integer::<4>(boot, 96)?.checked_sub(2)?);
    let (sector_shift, cluster_shift) = (boot[108], boot[109]);
    // The specification's bounds: sectors of 512 to 4096 bytes, clusters of at most 32 MiB.
    if !(9..=12).contains(&sector_shift) || cluster_shift > 25 - sector_shift {
        return None;
    }
    Some((heap + (cluster << cluster_shift)) << sector_shift)
}

pub(super) fn ntfs(disk: &dyn Disk) -> Result<Option<Vec<u8>>> {
    let Some(boot) = bytes_at::<512>(disk, 0)? else { return Ok(None) };
    let Some(at) = ntfs_volume_record(&boot) else { return Ok(None) };
    Ok(bytes_at::<RECORD>(disk, at)?.as_ref().and_then(ntfs_volume_name))
}

/// Where the record of `$Volume` begins, in bytes.
fn ntfs_volume_record(boot: &[u8; 512]) -> Option<u64> {
    let power = |value: u8, unit: u64| match value as i8 {
        // Negative: the size in bytes is a power of two.
        value @ ..=-1 => 1u64.checked_shl(value.unsigned_abs().into()),
        value => u64::from(value.unsigned_abs()).checked_mul(unit),
    };
    let sector = integer::<2>(boot, 11)?;
    // Clusters above 64 KiB are written as 2 to the power of minus the value, in sectors.
    let sectors = if boot[13] > 128 { 1u64.checked_shl(256 - u32::from(boot[13]))? } else { boot[13].into() };
    let cluster = sector.checked_mul(sectors)?;
    let record = power(boot[64], cluster)?;
    integer::<8>(boot, 48)?.checked_mul(cluster)?.checked_add(record.checked_mul(VOLUME_RECORD)?)
}

fn ntfs_volume_name(record: &[u8; RECORD]) -> Option<Vec<u8>> {
    if !record.starts_with(b"FILE") {
        return None;
    }
    let mut at = in_memory(integer::<2>(record, 20)?);
    loop {
        let kind = integer::<4>(record, at)?;
        let len = in_memory(integer::<4>(record, at + 4)?);
        if kind == ATTRIBUTES_END || len == 0 {
            return None;
        }
        if kind == VOLUME_NAME && *record.get(at + 8)? == 0 {
            let value_len = in_memory(integer::<4>(record, at + 16)?);
            let start = at.checked_add(in_memory(integer::<2>(record, at + 20)?))?;
            return label_utf16(record.get(start..start.checked_add(value_len)?)?);
        }
        at = at.checked_add(len)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the fields say, there is an answer.
    #[test]
    fn no_field_is_out_of_range() {
        for value in 0..=u8::MAX {
            let mut boot = [value; 512];
            exfat_root(&boot);
            ntfs_volume_record(&boot);
            (boot[108], boot[109], boot[11], boot[12]) = (12, 13, 0, 2);
            exfat_root(&boot);
            ntfs_volume_record(&boot);
            let mut record = [value; RECORD];
            record[..4].copy_from_slice(b"FILE");
            record[20] = 56;
            ntfs_volume_name(&record);
        }
    }
}
