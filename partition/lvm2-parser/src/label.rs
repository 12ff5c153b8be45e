//! The label: what makes a disk a physical volume, and where its metadata areas lie.

use zerocopy::FromBytes;

use crate::layout::{
    DiskLocn, LABEL_CRC_START, LABEL_ID, LABEL_SCAN_SECTORS, LVM2_LABEL, LabelHeader, PV_EXT_USED, PvHeader,
    PvHeaderExtension, SECTOR_SIZE,
};
use crate::{Error, Result, Uuid, checksum};

/// The label of a physical volume with the header that follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// In which of the first four 512-byte sectors it lies.
    pub sector: u8,
    /// The physical volume's identifier.
    pub uuid: Uuid,
    /// The size of the device in bytes when the physical volume was made.
    pub device_size: u64,
    /// Where extents lie. The volume group's text says it again, and is what counts.
    pub data_areas: Vec<Location>,
    /// Where metadata lies: one, two, or none.
    pub metadata_areas: Vec<Location>,
    /// What newer versions add behind the two lists.
    pub extension: Option<Extension>,
}

/// A run of bytes of the physical volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// In bytes from the start of the physical volume.
    pub offset: u64,
    /// In bytes; zero is the rest of the device.
    pub size: u64,
}

/// The extension of the physical volume header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// 1 has bootloader areas, 2 has `used` as well.
    pub version: u32,
    /// Whether the physical volume belongs to a volume group, as far as this label knows.
    pub used: bool,
    /// Space that is set aside for a bootloader.
    pub bootloader_areas: Vec<Location>,
}

impl Label {
    /// Finds the label in the first 2048 bytes of a disk.
    ///
    /// The first sound label counts, as for LVM2. `None` means that this is no physical volume. A label that is
    /// there but damaged, with no sound one, is an error that says how; LVM2's tools see no physical volume then.
    ///
    /// ```
    /// assert_eq!(lvm2_parser::Label::find(&[0; 2048]), Ok(None));
    /// ```
    pub fn find(start: &[u8; 2048]) -> Result<Option<Self>> {
        let mut damaged = None;
        for (number, sector) in (0..).zip(start.chunks_exact(SECTOR_SIZE).take(LABEL_SCAN_SECTORS)) {
            if sector.starts_with(LABEL_ID) {
                match Self::parse(sector, number) {
                    Ok(label) => return Ok(Some(label)),
                    Err(error) => damaged = damaged.or(Some(error)),
                }
            }
        }
        damaged.map_or(Ok(None), Err)
    }

    /// The label in this sector, which is number `number`.
    fn parse(bytes: &[u8], number: u8) -> Result<Self> {
        let at = u64::from(number) * SECTOR_SIZE as u64;
        let error = |structure, why: String| Error::Structure { structure, offset: at, why };
        let short = |structure| error(structure, format!("does not fit its sector of {SECTOR_SIZE} bytes"));

        let (header, _) = LabelHeader::ref_from_prefix(bytes).map_err(|_| short("label"))?;
        if header.r#type != *LVM2_LABEL {
            let found = header.r#type.escape_ascii();
            return Err(error("label", format!("type \"{found}\", want \"LVM2 001\"")));
        }
        if header.sector_xl.get() != u64::from(number) {
            return Err(error("label", format!("written for sector {}, found in sector {number}", header.sector_xl)));
        }
        let (stored, computed) = (header.crc_xl.get(), checksum(&bytes[LABEL_CRC_START..]));
        if stored != computed {
            return Err(error("label", format!("checksum {computed:#010x}, want {stored:#010x}")));
        }

        const HEADER: &str = "physical volume header";
        let offset = header.offset_xl.get() as usize;
        let rest = bytes.get(offset..).filter(|_| offset >= size_of::<LabelHeader>()).ok_or_else(|| short(HEADER))?;
        let (header, rest) = PvHeader::ref_from_prefix(rest).map_err(|_| short(HEADER))?;
        let uuid = Uuid::new(header.pv_uuid)
            .map_err(|_| error(HEADER, format!("UUID \"{}\"", header.pv_uuid.escape_ascii())))?;
        let (data_areas, rest) = locations(rest).ok_or_else(|| short("list of data areas"))?;
        let (metadata_areas, rest) = locations(rest).ok_or_else(|| short("list of metadata areas"))?;
        let device_size = header.device_size_xl.get();
        Ok(Self { sector: number, uuid, device_size, data_areas, metadata_areas, extension: extension(rest) })
    }
}

/// A list up to its end, and what follows it.
fn locations(mut rest: &[u8]) -> Option<(Vec<Location>, &[u8])> {
    let mut list = Vec::new();
    loop {
        let (locn, after) = DiskLocn::ref_from_prefix(rest).ok()?;
        rest = after;
        match locn.offset.get() {
            0 => return Some((list, rest)),
            offset => list.push(Location { offset, size: locn.size.get() }),
        }
    }
}

/// The extension, where there is a sound one: labels of older versions end before it.
fn extension(rest: &[u8]) -> Option<Extension> {
    let (header, rest) = PvHeaderExtension::ref_from_prefix(rest).ok()?;
    let version = header.version.get();
    let used = version >= 2 && header.flags.get() & PV_EXT_USED != 0;
    let (bootloader_areas, _) = locations(rest)?;
    (version > 0).then_some(Extension { version, used, bootloader_areas })
}
