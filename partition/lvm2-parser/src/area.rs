//! A metadata area: a header, and a ring in which each new text is written behind the last.

use std::ops::Range;

use zerocopy::FromBytes;

use crate::layout::{FMTT_MAGIC, FMTT_VERSION, MDA_CRC_START, MDA_HEADER_SIZE, MdaHeader, RAW_LOCN_IGNORED, RawLocn};
use crate::{Error, MAX_TEXT_SIZE, Result, checksum};

/// The header of a metadata area.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataArea {
    /// Where the area starts, in bytes from the start of the physical volume.
    pub start: u64,
    /// Bytes of the area; the first 512 are the header, the others the ring.
    pub size: u64,
    /// Whether LVM2 was told not to keep this area up to date. A text in it may be old.
    pub ignored: bool,
    /// The text that holds; none if the physical volume belongs to no volume group.
    pub text: Option<Text>,
}

/// Where the text lies in its area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    /// In bytes from the start of the area, at least 512.
    pub offset: u64,
    /// In bytes, at most [`MAX_TEXT_SIZE`] and the size of the ring.
    pub size: u64,
    /// What [`checksum`] of the text must be.
    pub checksum: u32,
}

impl MetadataArea {
    /// The area with this header, which was read at byte `offset` of the physical volume.
    ///
    /// Whether the area lies inside the physical volume is for the caller to check.
    pub fn parse(header: &[u8; MDA_HEADER_SIZE], offset: u64) -> Result<Self> {
        let error = |why: String| Error::Structure { structure: "metadata area header", offset, why };
        let (mda, rest) = MdaHeader::ref_from_prefix(header).expect("40 of 512 bytes");
        if mda.magic != *FMTT_MAGIC {
            return Err(error(format!(
                "magic \"{}\", want \"{}\"",
                mda.magic.escape_ascii(),
                FMTT_MAGIC.escape_ascii()
            )));
        }
        let (stored, computed) = (mda.checksum_xl.get(), checksum(&header[MDA_CRC_START..]));
        if stored != computed {
            return Err(error(format!("checksum {computed:#010x}, want {stored:#010x}")));
        }
        if mda.version != FMTT_VERSION {
            return Err(error(format!("version {}, want {FMTT_VERSION}", mda.version)));
        }
        let (start, size) = (mda.start.get(), mda.size.get());
        if start != offset {
            return Err(error(format!("written for byte {start:#x}")));
        }
        let ring = size.checked_sub(MDA_HEADER_SIZE as u64).filter(|_| start.checked_add(size).is_some());
        let Some(ring) = ring else { return Err(error(format!("area of {size} bytes"))) };

        let (locn, _) = RawLocn::ref_from_prefix(rest).expect("24 of 472 bytes");
        let ignored = locn.flags.get() & RAW_LOCN_IGNORED != 0;
        let text = Text { offset: locn.offset.get(), size: locn.size.get(), checksum: locn.checksum.get() };
        if text.offset == 0 || text.size == 0 {
            return Ok(Self { start, size, ignored, text: None });
        }
        if text.offset < MDA_HEADER_SIZE as u64 || text.offset >= size {
            return Err(error(format!("text at byte {} of an area of {size} bytes", text.offset)));
        }
        if text.size > ring {
            return Err(error(format!("text of {} bytes in a ring of {ring}", text.size)));
        }
        if text.size > MAX_TEXT_SIZE {
            return Err(error(format!("text of {} bytes, at most {MAX_TEXT_SIZE} are read", text.size)));
        }
        Ok(Self { start, size, ignored, text: Some(text) })
    }

    /// Where the text lies, in bytes from the start of the physical volume: its first part, and the part that wrapped
    /// to the start of the ring, often empty. Both are empty if there is no text.
    pub fn text_ranges(&self) -> [Range<u64>; 2] {
        let ring = self.start.saturating_add(MDA_HEADER_SIZE as u64);
        let Some(text) = self.text else { return [ring..ring, ring..ring] };
        let first = text.size.min(self.size.saturating_sub(text.offset));
        let at = self.start.saturating_add(text.offset);
        [at..at.saturating_add(first), ring..ring.saturating_add(text.size - first)]
    }
}
