//! Structures of a file, read whole and found to lie inside it.

use zerocopy::{FromBytes, IntoBytes};

use crate::{Disk, Result, corrupt};

/// Fills `buf` with bytes of a structure; what lies past the end of the file is `Corrupt` under the structure's name.
pub fn fill(file: &dyn Disk, what: &str, buf: &mut [u8], at: u64) -> Result<()> {
    match at.checked_add(buf.len() as u64) {
        Some(end) if end <= file.size() => file.read_at(buf, at),
        _ => Err(corrupt!(what, at, "lies past the end of the file at byte {:#x}: truncated?", file.size())),
    }
}

/// Reads a structure of a `layout`, or an array of bytes, as [`fill`] does.
pub fn read<T: FromBytes + IntoBytes>(file: &dyn Disk, what: &str, at: u64) -> Result<T> {
    let mut value = T::new_zeroed();
    fill(file, what, value.as_mut_bytes(), at)?;
    Ok(value)
}

/// Fails unless a table of `entries` entries of `entry_size` bytes at `at` lies inside the file.
pub fn check_table(file: &dyn Disk, what: &str, at: u64, entries: u64, entry_size: u64) -> Result<()> {
    match entries.checked_mul(entry_size).and_then(|len| at.checked_add(len)) {
        Some(end) if end <= file.size() => Ok(()),
        _ => {
            let size = file.size();
            Err(corrupt!(what, at, "{entries} entries, which reach past the end of the file at byte {size:#x}"))
        }
    }
}
