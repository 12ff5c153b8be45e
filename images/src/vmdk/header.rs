//! The headers of the three kinds of sparse extents, checked.

use super::descriptor::MAX_SECTORS;
use super::layout::*;
use crate::{Disk, Result, corrupt, structure, unsupported};

/// Our limit of a grain, in sectors: 1 GiB, as QEMU has it.
const MAX_GRAIN: u64 = 1 << 21;
/// Our limit of a compressed grain, in sectors: 2 MiB. Every writer that we know of makes 64 KiB.
const MAX_COMPRESSED_GRAIN: u64 = 4096;

/// What messages call the header of a hosted sparse extent.
const HOSTED: &str = "sparse extent header";

/// How grain directory and grain tables are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entries {
    /// Numbers of sectors, 4 bytes each; whether 1 stands for zeros.
    Sectors { zeroed: bool },
    /// Kinds and indexes, 8 bytes each; where the grain tables and the grains start, in bytes.
    Indexes { tables: u64, grains: u64 },
}

impl Entries {
    /// The size of an entry in bytes.
    pub fn size(self) -> u64 {
        match self {
            Self::Sectors { .. } => 4,
            Self::Indexes { .. } => 8,
        }
    }
}

/// How a compressed grain starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// With a marker that has its length.
    Marked,
    /// At once: where it ends only deflate knows.
    Bare,
}

/// What the header of a sparse extent says, within the bounds that the rest of this format relies on. All sizes and
/// offsets are in bytes and below 2^63.
#[derive(Debug)]
pub struct Header {
    /// The size of the extent.
    pub capacity: u64,
    /// The size of a grain, a power of two.
    pub grain: u64,
    /// The number of entries of a grain table, at least 1.
    pub table_entries: u64,
    /// Where the grain directory lies; inside the file, if `capacity` is not 0.
    pub directory: u64,
    /// Where another copy of it lies, inside the file.
    pub redundant: Option<u64>,
    pub entries: Entries,
    /// How grains are compressed, if they are.
    pub packing: Option<Packing>,
    /// Whether a writer did not close the file.
    pub unclean: bool,
    /// Whether it was made as a child of a parent that a descriptor must name.
    pub child: bool,
}

impl Header {
    /// Reads the header at the start of `file`, by its magic a hosted or an ESXi host sparse extent.
    pub fn read(file: &dyn Disk) -> Result<Self> {
        let magic: [u8; 4] = structure::read(file, HOSTED, 0)?;
        match magic {
            HOSTED_MAGIC => Self::hosted(file),
            COWD_MAGIC => Self::cowd(file),
            _ => Err(corrupt!(HOSTED, 0u64, "magic {}, want KDMV or COWD", magic.escape_ascii())),
        }
    }

    fn hosted(file: &dyn Disk) -> Result<Self> {
        let first = hosted_at(file, 0)?;
        // The specification's: the footer takes precedence over the header, of which it is a copy in all else.
        let (raw, at) = match first.gd_offset.get() {
            GD_AT_END => {
                let at = footer_at(file)?;
                (hosted_at(file, at)?, at)
            }
            _ => (first, 0),
        };
        check_hosted(&raw, at)?;
        let packing = hosted_packing(&raw, at)?;
        let most = if packing.is_some() { MAX_COMPRESSED_GRAIN } else { MAX_GRAIN };
        let header = Self {
            capacity: bytes(raw.capacity.get(), "capacity", at + 12)?,
            grain: grain(raw.grain_size.get(), most, at + 20)?,
            table_entries: raw.num_gtes_per_gt.get().into(),
            directory: 0,
            redundant: None,
            entries: Entries::Sectors { zeroed: raw.flags.get() & FLAG_ZEROED_GRAIN != 0 },
            packing,
            unclean: raw.unclean_shutdown != 0,
            child: false,
        };
        if header.capacity == 0 {
            return Ok(header);
        }
        let (directory, redundant) = header.hosted_directories(file, &raw, at)?;
        Ok(Self { directory, redundant, ..header })
    }

    /// Where the grain directory of a hosted sparse extent lies, and where its copy does, if that is needed and sound.
    fn hosted_directories(&self, file: &dyn Disk, raw: &SparseExtentHeader, at: u64) -> Result<(u64, Option<u64>)> {
        let redundant = match raw.rgd_offset.get() {
            0 => None,
            _ if raw.flags.get() & FLAG_REDUNDANT == 0 => None,
            offset => Some(self.checked_directory(file, offset, at + 48)),
        };
        let primary = match raw.gd_offset.get() {
            0 => Err(corrupt!(HOSTED, at + 56, "no grain directory")),
            offset => self.checked_directory(file, offset, at + 56),
        };
        match (primary, redundant) {
            (Ok(primary), redundant) => Ok((primary, redundant.and_then(Result::ok))),
            (Err(error), Some(Ok(redundant))) => {
                log::warn!("{file}: {error}; the redundant grain directory is used");
                Ok((redundant, None))
            }
            (Err(error), _) => Err(error),
        }
    }

    fn cowd(file: &dyn Disk) -> Result<Self> {
        let what = "COWD header";
        let raw: CowdHeader = structure::read(file, what, 0)?;
        if raw.version.get() != COWD_VERSION {
            return Err(unsupported!("COWD version {} is not supported, only 1", raw.version));
        }
        let mut header = Self {
            capacity: bytes(raw.num_sectors.get().into(), "capacity", 12)?,
            grain: grain(raw.grain_size.get().into(), MAX_GRAIN, 16)?,
            table_entries: COWD_GTES_PER_GT.into(),
            directory: 0,
            redundant: None,
            entries: Entries::Sectors { zeroed: false },
            packing: None,
            unclean: raw.unclean_shutdown.get() != 0,
            child: raw.flags.get() & COWD_FLAG_ROOT == 0,
        };
        header.check_entries(raw.num_gd_entries.get().into(), 24)?;
        header.directory = header.checked_directory(file, raw.gd_offset.get().into(), 20)?;
        Ok(header)
    }

    /// Reads the headers of a space-efficient sparse extent. Strict, because the format is not documented.
    pub fn space_efficient(file: &dyn Disk) -> Result<Self> {
        let what = "seSparse header";
        let raw: SeConstHeader = structure::read(file, what, 0)?;
        if raw.magic.get() != SE_CONST_MAGIC {
            return Err(corrupt!(what, 0u64, "magic {:#x}, want {SE_CONST_MAGIC:#x}", raw.magic));
        }
        for (name, found, wanted) in [
            ("version", raw.version, SE_VERSION),
            ("grain size", raw.grain_size, SE_GRAIN_SIZE),
            ("grain table size", raw.grain_table_size, SE_GRAIN_TABLE_SIZE),
            ("flags", raw.flags, 0),
        ] {
            if found.get() != wanted {
                return Err(unsupported!("seSparse with the {name} {found:#x} is not supported, only {wanted:#x}"));
            }
        }
        if raw.reserved.iter().chain(&raw.pad).any(|byte| *byte != 0) {
            return Err(unsupported!("seSparse with reserved fields that are not zero is not supported"));
        }
        let volatile_at = bytes(raw.volatile_header_offset.get(), "volatile header offset", 80)?;
        let volatile: SeVolatileHeader = structure::read(file, "seSparse volatile header", volatile_at)?;
        if volatile.magic.get() != SE_VOLATILE_MAGIC {
            let found = volatile.magic.get();
            return Err(corrupt!(
                "seSparse volatile header",
                volatile_at,
                "magic {found:#x}, want {SE_VOLATILE_MAGIC:#x}"
            ));
        }
        if volatile.replay_journal.get() != 0 {
            return Err(unsupported!(
                "the seSparse extent has a journal to replay, which is not supported: open it once on its ESXi host"
            ));
        }
        let mut header = Self {
            capacity: bytes(raw.capacity.get(), "capacity", 16)?,
            grain: SE_GRAIN_SIZE * SECTOR,
            table_entries: SE_GRAIN_TABLE_SIZE * SECTOR / 8,
            directory: 0,
            redundant: None,
            entries: Entries::Indexes {
                tables: bytes(raw.grain_tables_offset.get(), "grain tables offset", 144)?,
                grains: bytes(raw.grains_offset.get(), "grains offset", 192)?,
            },
            packing: None,
            unclean: false,
            child: true,
        };
        header.check_entries(bytes(raw.grain_dir_size.get(), "grain directory size", 136)? / 8, 136)?;
        header.directory = header.checked_directory(file, raw.grain_dir_offset.get(), 128)?;
        Ok(header)
    }

    /// How many bytes of the extent one grain table covers.
    pub fn table_covers(&self) -> u64 {
        self.grain * self.table_entries
    }

    /// How many entries the grain directory needs.
    fn directory_entries(&self) -> u64 {
        self.capacity.div_ceil(self.table_covers())
    }

    /// Fails unless a grain directory of so many entries covers the extent.
    fn check_entries(&self, entries: u64, at: u64) -> Result<()> {
        let needed = self.directory_entries();
        if entries < needed {
            let capacity = self.capacity;
            return Err(corrupt!("grain directory", at, "{entries} entries, but {capacity} bytes need {needed}"));
        }
        Ok(())
    }

    /// The offset in bytes of a grain directory at `sector`, which must lie inside the file.
    fn checked_directory(&self, file: &dyn Disk, sector: u64, at: u64) -> Result<u64> {
        let offset = bytes(sector, "grain directory", at)?;
        // Both are below 2^63: 2^63 bytes of capacity need at most 2^63 / 512 entries.
        let end = offset + self.directory_entries() * self.entries.size();
        if end > file.size() {
            let size = file.size();
            return Err(corrupt!("grain directory", offset, "past the end of the file at byte {size:#x}: truncated?"));
        }
        Ok(offset)
    }
}

/// Fails unless version, flags and tables of the header at `at` are such as we know.
fn check_hosted(raw: &SparseExtentHeader, at: u64) -> Result<()> {
    let version = raw.version.get();
    if !(1..=MAX_HOSTED_VERSION).contains(&version) {
        return Err(unsupported!("sparse extent version {version} is not supported, only 1 to 3"));
    }
    let flags = raw.flags.get();
    let known = FLAG_NEW_LINE | FLAG_REDUNDANT | FLAG_ZEROED_GRAIN | FLAG_COMPRESSED | FLAG_MARKERS;
    if flags & !known != 0 {
        return Err(unsupported!("sparse extents with the unknown flags {:#x} are not supported", flags & !known));
    }
    if flags & FLAG_NEW_LINE != 0 && raw.end_line_chars != END_LINE_CHARS {
        let found = raw.end_line_chars.escape_ascii();
        return Err(corrupt!(HOSTED, at + 73, "line ends {found}: it was transferred as text, and is damaged by that"));
    }
    let entries = raw.num_gtes_per_gt.get();
    if !(1..=MAX_GTES_PER_GT).contains(&entries) {
        return Err(corrupt!(HOSTED, at + 44, "grain tables of {entries} entries, {MAX_GTES_PER_GT} is the most"));
    }
    Ok(())
}

/// How the grains are compressed, by the header at `at`.
fn hosted_packing(raw: &SparseExtentHeader, at: u64) -> Result<Option<Packing>> {
    let flags = raw.flags.get();
    match (flags & FLAG_COMPRESSED != 0, raw.compress_algorithm.get()) {
        (false, COMPRESSION_NONE) => Ok(None),
        (true, COMPRESSION_DEFLATE) if flags & FLAG_MARKERS != 0 => Ok(Some(Packing::Marked)),
        (true, COMPRESSION_DEFLATE) => Ok(Some(Packing::Bare)),
        (compressed, algorithm @ (COMPRESSION_NONE | COMPRESSION_DEFLATE)) => {
            let flag = if compressed { "set" } else { "not set" };
            Err(corrupt!(HOSTED, at + 77, "compression {algorithm}, but the flag for compression is {flag}"))
        }
        (_, algorithm) => Err(unsupported!("grains compressed by the unknown algorithm {algorithm}")),
    }
}

/// Offset and length in bytes of the descriptor that is embedded in a hosted sparse extent.
pub fn embedded_descriptor(file: &dyn Disk) -> Result<Option<(u64, u64)>> {
    let raw = hosted_at(file, 0)?;
    let offset = bytes(raw.descriptor_offset.get(), "descriptor offset", 28)?;
    let len = bytes(raw.descriptor_size.get(), "descriptor size", 36)?;
    Ok((offset > 0).then_some((offset, len)))
}

/// `sectors` in bytes, at most 2^63. `at` is where the number stands.
fn bytes(sectors: u64, what: &str, at: u64) -> Result<u64> {
    if sectors > MAX_SECTORS {
        return Err(corrupt!(what, at, "{sectors} sectors, more than 2^63 bytes"));
    }
    Ok(sectors * SECTOR)
}

/// The grain size in bytes.
fn grain(sectors: u64, most: u64, at: u64) -> Result<u64> {
    if !sectors.is_power_of_two() {
        return Err(corrupt!("grain size", at, "{sectors} sectors, want a power of two"));
    }
    if sectors > most {
        return Err(unsupported!("grains of {sectors} sectors are not supported, {most} is the most"));
    }
    Ok(sectors * SECTOR)
}

fn hosted_at(file: &dyn Disk, at: u64) -> Result<SparseExtentHeader> {
    let raw: SparseExtentHeader = structure::read(file, HOSTED, at)?;
    if raw.magic_number != HOSTED_MAGIC {
        let magic = raw.magic_number.escape_ascii();
        return Err(corrupt!(HOSTED, at, "magic {magic}, want KDMV"));
    }
    Ok(raw)
}

/// Where the footer of a stream lies: the last sector but one, between its own marker and the end-of-stream marker.
fn footer_at(file: &dyn Disk) -> Result<u64> {
    let end = file.size() - file.size() % SECTOR;
    for (back, kind, name) in [(3, MARKER_FOOTER, "footer"), (1, MARKER_EOS, "end-of-stream")] {
        let Some(at) = end.checked_sub(back * SECTOR) else {
            return Err(corrupt!("stream footer", end, "the file ends before it: truncated?"));
        };
        let marker: MetaDataMarker = structure::read(file, "stream marker", at)?;
        if marker.size.get() != 0 || marker.kind.get() != kind {
            return Err(corrupt!("stream footer", at, "no {name} marker, where a stream ends: truncated?"));
        }
    }
    let footer = end - 2 * SECTOR;
    if hosted_at(file, footer)?.gd_offset.get() == GD_AT_END {
        return Err(corrupt!("stream footer", footer + 56, "it has no place of the grain directory either"));
    }
    Ok(footer)
}
