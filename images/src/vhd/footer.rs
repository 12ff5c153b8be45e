//! The footer of a VHD file: at the end, and a copy at the start of all that is not fixed.

use zerocopy::{FromZeros, IntoBytes};

use super::layout::{self, *};
use crate::length::at_most;
use crate::{Disk, Result, corrupt, structure, unsupported};

/// How a disk is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The bytes of the disk, from the start of the file.
    Fixed,
    /// In blocks that are allocated when they are written.
    Dynamic,
    /// As dynamic; what is not there is the parent's.
    Differencing,
}

/// What the footer says, checked.
#[derive(Debug)]
pub struct Footer {
    /// How the disk is stored.
    pub kind: Kind,
    /// The size of the guest's disk in bytes, a multiple of 512.
    pub size: u64,
    /// Where the dynamic disk header lies, in bytes.
    pub data_offset: u64,
    /// The identity of the disk, which its children name.
    pub unique_id: [u8; 16],
    /// Whether the footer at the end of the file is damaged or not there, and this is the copy at the start.
    pub is_copy: bool,
    /// Whether the checksum is wrong, in the same way in the footer and in its copy: so it was written.
    pub is_unsummed: bool,
}

impl Footer {
    /// The footer of `file`, or why there is none that can be trusted.
    pub fn read(file: &dyn Disk) -> Result<Self> {
        let (mut first_error, mut found) = (None, None);
        for (place, is_copy) in places(file) {
            match read_at(file, place) {
                Ok(raw) => {
                    found = Some((raw, place, is_copy));
                    break;
                }
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        let is_unsummed = found.is_none();
        let Some((raw, at, is_copy)) = found.or_else(|| agreed(file).map(|(raw, at)| (raw, at, false))) else {
            return Err(
                first_error.unwrap_or_else(|| corrupt!("VHD footer", 0u64, "the file is shorter than a footer"))
            );
        };
        let version = raw.file_format_version.get();
        if version >> 16 != VERSION_1 >> 16 {
            return Err(unsupported!("VHD version {}.{} is not supported", version >> 16, version & 0xffff));
        }
        let kind = match raw.disk_type.get() {
            TYPE_FIXED => Kind::Fixed,
            TYPE_DYNAMIC => Kind::Dynamic,
            TYPE_DIFFERENCING => Kind::Differencing,
            other => return Err(unsupported!("VHD disks of type {other} are not supported")),
        };
        let sectors = sectors(&raw);
        if sectors > MAX_SECTORS {
            return Err(corrupt!("VHD footer", at, "a disk of {sectors} sectors, {MAX_SECTORS} is the most"));
        }
        let size = sectors * SECTOR;
        if kind == Kind::Fixed && size > at {
            return Err(corrupt!("VHD footer", at, "a fixed disk of {size} bytes, but the footer lies inside it"));
        }
        Ok(Self { kind, size, data_offset: raw.data_offset.get(), unique_id: raw.unique_id, is_copy, is_unsummed })
    }
}

/// Where a footer can lie, best first, and whether that is the copy at the start.
fn places(file: &dyn Disk) -> impl Iterator<Item = (u64, bool)> {
    let end = |size| file.size().checked_sub(size as u64);
    let ends = [end(size_of::<layout::Footer>()), end(OLD_FOOTER_SIZE)];
    ends.into_iter().flatten().map(|at| (at, false)).chain(file.size().ge(&SECTOR).then_some((0, true)))
}

/// The footer at the end and where it lies, if the copy at the start is the same to the byte: then both are as their
/// writer made them, whatever checksum it computed.
fn agreed(file: &dyn Disk) -> Option<(layout::Footer, u64)> {
    let at = file.size().checked_sub(size_of::<layout::Footer>() as u64).filter(|at| *at > 0)?;
    let (end, copy) = (read_raw(file, at).ok()?, read_raw(file, 0).ok()?);
    (end.as_bytes() == copy.as_bytes()).then_some((end, at))
}

/// Reads the footer at byte `at`, and checks its checksum.
fn read_at(file: &dyn Disk, at: u64) -> Result<layout::Footer> {
    let raw = read_raw(file, at)?;
    let sum = checksum(raw.as_bytes(), FOOTER_CHECKSUM);
    if sum != raw.checksum.get() {
        return Err(corrupt!("VHD footer", at, "checksum {:#x}, want {sum:#x}", raw.checksum));
    }
    Ok(raw)
}

/// Reads the footer at byte `at`, whatever its checksum is.
fn read_raw(file: &dyn Disk, at: u64) -> Result<layout::Footer> {
    let mut raw = layout::Footer::new_zeroed();
    // The byte that old footers lack is zero for the checksum.
    let len = at_most(file.size() - at, size_of::<layout::Footer>());
    structure::fill(file, "VHD footer", &mut raw.as_mut_bytes()[..len], at)?;
    if raw.cookie != COOKIE {
        return Err(corrupt!("VHD footer", at, "no cookie, want {:?}: truncated?", "conectix"));
    }
    // A fixed disk has no copy at its start: what lies there is the guest's.
    if at == 0 && raw.disk_type.get() == TYPE_FIXED && file.size() > SECTOR {
        return Err(corrupt!("VHD footer", at, "the copy at the start says fixed"));
    }
    Ok(raw)
}

/// The ones' complement of the sum of all bytes but the four of the checksum itself, which lie at `at`.
pub fn checksum(bytes: &[u8], at: usize) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().fold(0u32, |sum, byte| sum.wrapping_add((*byte).into()));
    !sum(bytes).wrapping_sub(sum(&bytes[at..at + 4]))
}

/// The size of the disk in sectors. Virtual PC, and QEMU as it was, mean what the geometry comes to, and round
/// `current_size` up beyond it; all others mean `current_size`, and so do these two once the geometry is at its limit.
/// QEMU has the same rule: `vpc_ignore_current_size` in block/vpc.c, 10.0.
fn sectors(raw: &layout::Footer) -> u64 {
    let geometry = u64::from(raw.cylinders.get()) * u64::from(raw.heads) * u64::from(raw.sectors_per_track);
    match &raw.creator_application {
        b"vpc " | b"qemu" if geometry != MAX_GEOMETRY => geometry,
        _ => raw.current_size.get() / SECTOR,
    }
}
