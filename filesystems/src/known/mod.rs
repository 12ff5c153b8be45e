//! Contents that are recognised and named, with label and UUID as blkid prints them, but not opened.

#![cfg_attr(not(test), warn(clippy::cast_possible_truncation))]

mod optical;
mod raid;
mod signatures;
mod windows;
mod zfs;

use std::fmt::Write;
use std::sync::Arc;

use images::{Disk, Error, Result, unsupported};

use crate::driver::Probe;
use crate::{Driver, FileSystem, Identity, Precedence, Request};

/// Parts of something larger: RAID members, encrypted volumes. What they hold may show through at the start of the
/// disk.
pub const CONTAINER: Driver =
    Driver { precedence: Precedence::Container, ..Driver::new("container", probe_containers, open) };

/// File systems and swap.
pub const CONTENTS: Driver = Driver { precedence: Precedence::Signature, ..Driver::new("known", probe_contents, open) };

/// The first match counts: an array of encrypted disks is an array.
fn probe_containers(disk: &dyn Disk) -> Result<Option<Identity>> {
    let probes: [Probe; 2] =
        [raid::probe, |disk| Ok(signatures::probe(signatures::CONTAINERS, disk)?.into_iter().next())];
    for probe in probes {
        if let Some(identity) = probe(disk)? {
            return Ok(Some(identity));
        }
    }
    Ok(None)
}

/// Two matches are an error, as between drivers.
fn probe_contents(disk: &dyn Disk) -> Result<Option<Identity>> {
    let mut found = signatures::probe(signatures::CONTENTS, disk)?;
    found.extend(optical::probe(disk)?);
    found.extend(zfs::probe(disk)?);
    found.dedup_by(|a, b| a.kind == b.kind);
    if let [one, other, ..] = &found[..] {
        return Err(Error::Ambiguous(format!("{disk} looks like {} and like {}", one.kind, other.kind)));
    }
    Ok(found.pop())
}

fn open(request: &Request<'_>) -> Result<Arc<dyn FileSystem>> {
    let disk = request.disk;
    let identity = match probe_containers(disk.as_ref())? {
        Some(identity) => Some(identity),
        None => probe_contents(disk.as_ref())?,
    };
    let Some(Identity { kind, .. }) = identity else {
        return Err(Error::Unknown(format!("no file system recognised on {disk}")));
    };
    Err(match kind.as_str() {
        "swap" | "swsuspend" => unsupported!("{disk} is {kind} space and holds no files"),
        "crypto_LUKS" | "BitLocker" => {
            unsupported!("{disk} is encrypted ({kind}): what is inside is another device, once a key opens it")
        }
        "linux_raid_member" => {
            unsupported!("{disk} is a part of a RAID array ({kind}): its files show once enough of its disks are given")
        }
        _ => unsupported!("{disk}: {kind} is recognised but not read yet"),
    })
}

/// `N` bytes at `offset`, or `None` if the disk is too short.
fn bytes_at<const N: usize>(disk: &dyn Disk, offset: u64) -> Result<Option<[u8; N]>> {
    let mut bytes = [0; N];
    match offset.checked_add(N as u64) {
        Some(end) if end <= disk.size() => disk.read_at(&mut bytes, offset).map(|()| Some(bytes)),
        _ => Ok(None),
    }
}

/// A UUID of 16 bytes in its usual form; of zeros only, none.
fn uuid(bytes: &[u8; 16]) -> Option<String> {
    if bytes.iter().all(|byte| *byte == 0) {
        return None;
    }
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        write!(text, "{byte:02x}").expect("a String takes everything");
    }
    Some(text)
}

/// A label in a field that is filled up with NUL or spaces; of nothing else, none.
fn label(field: &[u8]) -> Option<Vec<u8>> {
    let text = field.split(|byte| *byte == 0).next().unwrap_or_default().trim_ascii_end();
    (!text.is_empty()).then(|| text.to_vec())
}

/// A label in UTF-16, little-endian, as UTF-8.
fn label_utf16(field: &[u8]) -> Option<Vec<u8>> {
    let units = field.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    let text =
        char::decode_utf16(units.take_while(|unit| *unit != 0)).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER));
    label(text.collect::<String>().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        assert_eq!(label(b"a b  \0junk").as_deref(), Some(&b"a b"[..]));
        assert_eq!(label(b"    "), None);
        let field: Vec<u8> = "gr\u{fc}n \u{1f40d}\0x".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(label_utf16(&field).as_deref(), Some("gr\u{fc}n \u{1f40d}".as_bytes()));
        assert_eq!(label_utf16(&[0x00, 0xd8, 0x41, 0x00]).as_deref(), Some("\u{fffd}A".as_bytes()), "half a pair");
        assert_eq!(uuid(&[0; 16]), None);
    }
}
