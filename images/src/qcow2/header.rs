//! The header of a qcow2 file with its extensions, checked.

use super::layout::*;
use crate::{Disk, Result, corrupt, structure, unsupported};

/// Our limit of the name of an external data file: Linux's `PATH_MAX`.
const MAX_DATA_FILE_NAME: u32 = 4096;
/// Our limit of a backing format's name; QEMU's own is 15 bytes.
const MAX_FORMAT_NAME: u32 = 64;

/// How compressed clusters are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Raw deflate, which QEMU calls zlib.
    Deflate,
    /// zstd frames.
    Zstd,
}

/// The file that holds what this image does not.
#[derive(Debug)]
pub struct Backing {
    /// The name as it stands in the header.
    pub name: Vec<u8>,
    /// The name of its format, if the header has one.
    pub format: Option<String>,
}

/// Where a mapping of the guest's disk starts: the active one or a snapshot's.
#[derive(Clone, Copy, Debug)]
pub struct L1Table {
    /// Its offset in the file, in bytes; a multiple of the cluster size.
    pub offset: u64,
    /// Its number of entries.
    pub entries: u32,
}

/// What the header says, within the bounds that the rest of this format relies on.
#[derive(Debug)]
pub struct Header {
    /// 9 to 21.
    pub cluster_bits: u32,
    /// 2 or 3.
    pub version: u32,
    /// The size of the virtual disk in bytes.
    pub size: u64,
    /// The active L1 table, long enough for `size`.
    pub l1: L1Table,
    /// Whether L2 entries have subclusters; then `cluster_bits` is at least 14.
    pub extended_l2: bool,
    /// How compressed clusters are compressed.
    pub compression: Compression,
    /// Whether `incompatible_features` says that structures may be corrupt.
    pub corrupt: bool,
    /// The number of internal snapshots, at most [`MAX_SNAPSHOTS`].
    pub snapshots: u32,
    /// Where the snapshot table starts, in bytes.
    pub snapshots_offset: u64,
    /// The backing file.
    pub backing: Option<Backing>,
    /// The name of the external data file, where there is one.
    pub data_file: Option<Vec<u8>>,
    /// Whether the external data file is also the guest's disk as a raw image.
    pub raw_data_file: bool,
    /// How the guest's data is encrypted: a `CRYPT_` constant.
    pub crypt_method: u32,
    /// Offset and length in bytes of the encryption header, where the header names one.
    pub crypto_header: Option<(u64, u64)>,
    /// Whether refcounts may be inconsistent, because a writer has not closed the image.
    pub dirty: bool,
    /// Whether writers may leave refcounts behind until they close the image.
    pub lazy_refcounts: bool,
    /// The width of a refcount in bits, 1 to 64.
    pub refcount_bits: u32,
    /// Where the refcount table lies, in bytes, and how many clusters it has; not checked, only writers need it.
    pub refcount_table: (u64, u32),
    /// `autoclear_features`: what a writer that does not know these bits must clear.
    pub autoclear: u64,
}

/// The extensions that matter for reading.
#[derive(Default)]
struct Extensions {
    backing_format: Option<String>,
    data_file: Option<Vec<u8>>,
    /// Offset and length in bytes of the feature name table.
    feature_names: Option<(u64, u32)>,
    /// Offset and length in bytes of the encryption header.
    crypto_header: Option<(u64, u64)>,
}

impl Header {
    /// Reads and checks the header at the start of `file`.
    pub fn read(file: &dyn Disk) -> Result<Self> {
        let raw: super::layout::Header = structure::read(file, "qcow2 header", 0)?;
        let (version, cluster_bits, size) = (raw.version.get(), raw.cluster_bits.get(), raw.size.get());
        check_start(&raw)?;
        let (cluster_size, backing_offset) = (1u64 << cluster_bits, raw.backing_file_offset.get());
        let features = Features::read(file, version, cluster_size)?;
        let extensions_end = if backing_offset == 0 { cluster_size } else { backing_offset };
        let extensions = Extensions::read(file, features.header_length.into(), extensions_end)?;
        features.check(file, &extensions, cluster_bits)?;

        let extended_l2 = features.incompatible & INCOMPATIBLE_EXTENDED_L2 != 0;
        let l1 = L1Table { offset: raw.l1_table_offset.get(), entries: raw.l1_size.get() };
        l1.check(size, cluster_bits, extended_l2, file.size(), 40)?;
        let snapshots = raw.nb_snapshots.get();
        if snapshots > MAX_SNAPSHOTS {
            return Err(corrupt!("qcow2 header", 60u64, "{snapshots} snapshots, {MAX_SNAPSHOTS} is the most"));
        }
        let Extensions { backing_format, data_file, crypto_header, .. } = extensions;
        let backing = Backing::read(file, &raw, backing_format)?;
        let has_data_file = features.incompatible & INCOMPATIBLE_DATA_FILE != 0;
        if has_data_file && data_file.is_none() {
            return Err(unsupported!("the image has an external data file, but does not say which: not supported"));
        }
        Ok(Self {
            cluster_bits,
            version,
            size,
            l1,
            extended_l2,
            compression: features.compression,
            corrupt: features.incompatible & INCOMPATIBLE_CORRUPT != 0,
            snapshots,
            snapshots_offset: raw.snapshots_offset.get(),
            backing,
            data_file: data_file.filter(|_| has_data_file),
            raw_data_file: features.autoclear & AUTOCLEAR_RAW_DATA_FILE != 0,
            crypt_method: raw.crypt_method.get(),
            crypto_header,
            dirty: features.incompatible & INCOMPATIBLE_DIRTY != 0,
            lazy_refcounts: features.compatible & COMPATIBLE_LAZY_REFCOUNTS != 0,
            refcount_bits: 1 << features.refcount_order,
            refcount_table: (raw.refcount_table_offset.get(), raw.refcount_table_clusters.get()),
            autoclear: features.autoclear,
        })
    }
}

/// Fails unless magic, version and cluster size are such as we know, and the backing file's name is where it must be.
fn check_start(raw: &super::layout::Header) -> Result<()> {
    const WHAT: &str = "qcow2 header";
    let (magic, version, bits) = (raw.magic.get(), raw.version.get(), raw.cluster_bits.get());
    if magic != MAGIC {
        return Err(corrupt!(WHAT, 0u64, "magic {magic:#x}, want {MAGIC:#x}"));
    }
    if !(2..=3).contains(&version) {
        return Err(unsupported!("qcow2 version {version} is not supported, only 2 and 3"));
    }
    if bits < MIN_CLUSTER_BITS {
        return Err(corrupt!(WHAT, 20u64, "cluster_bits {bits}, want at least {MIN_CLUSTER_BITS}"));
    }
    if bits > MAX_CLUSTER_BITS {
        return Err(unsupported!("qcow2 clusters of 2^{bits} bytes are not supported, 2 MiB is the most"));
    }
    let backing = raw.backing_file_offset.get();
    if backing > 1 << bits {
        return Err(corrupt!(WHAT, 8u64, "backing file name at byte {backing:#x}, past the first cluster"));
    }
    Ok(())
}

impl Backing {
    /// The name in the first cluster, if there is one.
    fn read(file: &dyn Disk, raw: &super::layout::Header, format: Option<String>) -> Result<Option<Self>> {
        let (at, len) = (raw.backing_file_offset.get(), raw.backing_file_size.get());
        if at == 0 {
            return Ok(None);
        }
        if len > MAX_BACKING_NAME || u64::from(len) > (1 << raw.cluster_bits.get()) - at {
            return Err(corrupt!("qcow2 header", 16u64, "backing file name of {len} bytes"));
        }
        let mut name = vec![0; len as usize];
        structure::fill(file, "backing file name", &mut name, at)?;
        Ok((len > 0).then_some(Self { name, format }))
    }
}

impl L1Table {
    /// Fails unless the table lies inside the file and covers a disk of `size` bytes; `at` is where it is described.
    ///
    /// After this no arithmetic on offsets below `size` overflows: the bounds give at most 2^61 bytes.
    pub fn check(self, size: u64, cluster_bits: u32, extended_l2: bool, file_size: u64, at: u64) -> Result<()> {
        let Self { offset, entries } = self;
        let len = u64::from(entries) * 8;
        if len > MAX_L1_BYTES {
            return Err(corrupt!("L1 table", at, "{entries} entries, {} is the most", MAX_L1_BYTES / 8));
        }
        // A cluster of L2 entries, each of which stands for a cluster.
        let covered_bits = 2 * cluster_bits - if extended_l2 { 4 } else { 3 };
        let needed = size.div_ceil(1 << covered_bits);
        if u64::from(entries) < needed {
            return Err(corrupt!("L1 table", at, "{entries} entries, but a disk of {size} bytes needs {needed}"));
        }
        if entries == 0 {
            return Ok(());
        }
        if offset % (1 << cluster_bits) != 0 || offset == 0 {
            return Err(corrupt!("L1 table", at, "starts at byte {offset:#x}, want a multiple of the cluster size"));
        }
        match offset.checked_add(needed * 8) {
            Some(end) if end <= file_size => Ok(()),
            _ => Err(corrupt!("L1 table", offset, "lies past the end of the file at byte {file_size:#x}: truncated?")),
        }
    }
}

/// The feature bits and what belongs to them; all zero in version 2.
struct Features {
    incompatible: u64,
    compatible: u64,
    autoclear: u64,
    refcount_order: u32,
    header_length: u32,
    compression_type: u8,
    compression: Compression,
}

impl Features {
    fn read(file: &dyn Disk, version: u32, cluster_size: u64) -> Result<Self> {
        let after = size_of::<super::layout::Header>() as u32;
        let mut features = Self {
            incompatible: 0,
            compatible: 0,
            autoclear: 0,
            refcount_order: REFCOUNT_ORDER_VERSION_2,
            header_length: after,
            compression_type: COMPRESSION_DEFLATE,
            compression: Compression::Deflate,
        };
        if version == 2 {
            return Ok(features);
        }
        let raw: HeaderVersion3 = structure::read(file, "qcow2 header", after.into())?;
        let length = raw.header_length.get();
        if length < HEADER_LENGTH_VERSION_3 || u64::from(length) > cluster_size || !length.is_multiple_of(8) {
            return Err(corrupt!(
                "qcow2 header",
                100u64,
                "header_length {length}, want a multiple of 8 from 104 to a cluster"
            ));
        }
        if raw.refcount_order.get() > 6 {
            return Err(corrupt!("qcow2 header", 96u64, "refcount_order {}, 6 is the most", raw.refcount_order));
        }
        features.incompatible = raw.incompatible_features.get();
        features.compatible = raw.compatible_features.get();
        features.autoclear = raw.autoclear_features.get();
        features.refcount_order = raw.refcount_order.get();
        features.header_length = length;
        if length > COMPRESSION_TYPE_OFFSET {
            features.compression_type = structure::read(file, "qcow2 header", COMPRESSION_TYPE_OFFSET.into())?;
            features.compression = match features.compression_type {
                COMPRESSION_DEFLATE => Compression::Deflate,
                COMPRESSION_ZSTD => Compression::Zstd,
                other => return Err(unsupported!("qcow2 compression type {other} is unknown and not supported")),
            };
        }
        Ok(features)
    }

    /// Refuses what is unknown, by name, and what contradicts itself.
    fn check(&self, file: &dyn Disk, extensions: &Extensions, cluster_bits: u32) -> Result<()> {
        const KNOWN: u64 = INCOMPATIBLE_DIRTY
            | INCOMPATIBLE_CORRUPT
            | INCOMPATIBLE_DATA_FILE
            | INCOMPATIBLE_COMPRESSION
            | INCOMPATIBLE_EXTENDED_L2;
        let unknown = self.incompatible & !KNOWN;
        if unknown != 0 {
            let names = extensions.names(file, unknown)?.join(", ");
            return Err(unsupported!("the image uses qcow2 features that are not supported: {names}"));
        }
        let compression = self.incompatible & INCOMPATIBLE_COMPRESSION != 0;
        if compression != (self.compression_type != COMPRESSION_DEFLATE) {
            let (bit, kind) = (u8::from(compression), self.compression_type);
            return Err(corrupt!("qcow2 header", 104u64, "compression type {kind}, but its feature bit is {bit}"));
        }
        if self.incompatible & INCOMPATIBLE_EXTENDED_L2 != 0 && cluster_bits < MIN_CLUSTER_BITS_EXTENDED {
            return Err(corrupt!("qcow2 header", 20u64, "clusters of 2^{cluster_bits} bytes cannot have subclusters"));
        }
        if self.autoclear & AUTOCLEAR_RAW_DATA_FILE != 0 && self.incompatible & INCOMPATIBLE_DATA_FILE == 0 {
            return Err(corrupt!("qcow2 header", 88u64, "a raw external data file, but no external data file"));
        }
        Ok(())
    }
}

impl Extensions {
    /// Reads the extensions in bytes `at .. end` of the file; `end` is at most a cluster.
    fn read(file: &dyn Disk, mut at: u64, end: u64) -> Result<Self> {
        let mut found = Self::default();
        // A file may end directly after the last extension: nothing more was written.
        let end = end.min(file.size());
        while at + size_of::<ExtensionHeader>() as u64 <= end {
            let header: ExtensionHeader = structure::read(file, "header extension", at)?;
            let (kind, len) = (header.kind.get(), header.length.get());
            if kind == EXTENSION_END {
                break;
            }
            let start = at + size_of::<ExtensionHeader>() as u64;
            if u64::from(len) > end - start {
                return Err(corrupt!(
                    "header extension",
                    at,
                    "{len} bytes long, but the extensions end at byte {end:#x}"
                ));
            }
            match kind {
                EXTENSION_BACKING_FORMAT => {
                    let name = text(file, start, len, MAX_FORMAT_NAME, "backing file format")?;
                    found.backing_format = Some(String::from_utf8_lossy(&name).into_owned());
                }
                EXTENSION_DATA_FILE => {
                    found.data_file = Some(text(file, start, len, MAX_DATA_FILE_NAME, "external data file name")?);
                }
                EXTENSION_CRYPTO_HEADER => {
                    const WHAT: &str = "encryption header pointer";
                    let want = size_of::<CryptoHeader>();
                    if len as usize != want {
                        return Err(corrupt!(WHAT, at, "{len} bytes long, want {want}"));
                    }
                    let raw: CryptoHeader = structure::read(file, WHAT, start)?;
                    found.crypto_header = Some((raw.offset.get(), raw.length.get()));
                }
                EXTENSION_FEATURE_NAMES => found.feature_names = Some((start, len)),
                _ => {}
            }
            at = start + u64::from(len).next_multiple_of(8);
        }
        Ok(found)
    }

    /// What the feature name table calls these bits of `incompatible_features`; `bit N` for those that it leaves out.
    fn names(&self, file: &dyn Disk, bits: u64) -> Result<Vec<String>> {
        let mut names: Vec<(u8, String)> = Vec::new();
        let (start, len) = self.feature_names.unwrap_or((0, 0));
        let entry = size_of::<FeatureName>();
        for index in 0..u64::from(len) / entry as u64 {
            let raw: FeatureName = structure::read(file, "feature name table", start + index * entry as u64)?;
            let wanted = raw.kind == 0 && raw.bit < 64 && bits >> raw.bit & 1 == 1;
            if wanted && names.iter().all(|(bit, _)| *bit != raw.bit) {
                let name = raw.name.split(|byte| *byte == 0).next().unwrap_or_default();
                names.push((raw.bit, String::from_utf8_lossy(name).escape_debug().to_string()));
            }
        }
        Ok((0..64u8)
            .filter(|bit| bits >> bit & 1 == 1)
            .map(|bit| match names.iter().find(|(named, _)| *named == bit) {
                Some((_, name)) => format!("{name} (bit {bit})"),
                None => format!("bit {bit}"),
            })
            .collect())
    }
}

/// The data of a string extension of at most `most` bytes.
fn text(file: &dyn Disk, start: u64, len: u32, most: u32, what: &str) -> Result<Vec<u8>> {
    if len > most {
        return Err(corrupt!(what, start, "{len} bytes long, {most} is the most"));
    }
    let mut name = vec![0; len as usize];
    structure::fill(file, what, &mut name, start)?;
    Ok(name)
}
