//! ISO 9660 and UDF, by the volume recognition sequence that both share.
//!
//! Layout: [ECMA-119](https://ecma-international.org/publications-and-standards/standards/ecma-119/) clause 8 and
//! [ECMA-167](https://ecma-international.org/publications-and-standards/standards/ecma-167/) part 2.

use images::{Disk, Result};

use super::{bytes_at, label};
use crate::Identity;

/// Where the sequence starts, in bytes, and how long a descriptor is.
const SEQUENCE: u64 = 32 << 10;
const DESCRIPTOR: u64 = 2048;
/// How many descriptors are looked at: ours; discs have about six.
const DESCRIPTORS_MAX: u64 = 64;

/// UDF wins where a disc has both, as in blkid: it is the better view of the same files.
pub(super) fn probe(disk: &dyn Disk) -> Result<Option<Identity>> {
    let mut iso = None;
    for index in 0..DESCRIPTORS_MAX {
        let at = SEQUENCE + index * DESCRIPTOR;
        let Some(start) = bytes_at::<7>(disk, at)? else { break };
        match &start[1..6] {
            b"CD001" if start[0] == 1 && iso.is_none() => iso = primary(disk, at)?,
            b"NSR02" | b"NSR03" => return Ok(Some(Identity { kind: "udf".into(), ..Identity::default() })),
            b"CD001" | b"BEA01" | b"TEA01" | b"BOOT2" => {}
            _ => break,
        }
    }
    Ok(iso)
}

/// The primary volume descriptor: volume identifier at 40, creation and modification at 813 and 830.
fn primary(disk: &dyn Disk, at: u64) -> Result<Option<Identity>> {
    let Some(descriptor) = bytes_at::<847>(disk, at)? else { return Ok(None) };
    let uuid = date(&descriptor[830..846]).or_else(|| date(&descriptor[813..829]));
    Ok(Some(Identity { kind: "iso9660".into(), label: label(&descriptor[40..72]), uuid }))
}

/// A date of 16 digits, which serves as a UUID; of zeros only, none.
fn date(digits: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    if text.bytes().all(|byte| byte == b'0') {
        return None;
    }
    let parts = [0..4, 4..6, 6..8, 8..10, 10..12, 12..14, 14..16].map(|range| &text[range]);
    Some(parts.join("-"))
}
