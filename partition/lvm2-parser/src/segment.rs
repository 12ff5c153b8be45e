//! A segment of a logical volume: where a run of its extents lies, or what they are computed from.

use std::collections::HashMap;

use crate::Result;
use crate::config::{Section, Value};

/// A run of a logical volume's extents that are mapped in one way.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// Its first extent, counted in the logical volume.
    pub start: u32,
    /// How many extents it has, at least one.
    pub extents: u32,
    /// Where they lie.
    pub mapping: Mapping,
}

/// Where the extents of a segment lie. Other logical volumes are named by their indices in
/// [`VolumeGroup::logical_volumes`](crate::VolumeGroup::logical_volumes), and these may form circles.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Mapping {
    /// One after the other, in one area.
    Linear(Area),
    /// In turns of `stripe_size` over at least two areas, which share the extents evenly.
    Striped {
        /// In sectors of 512 bytes, not zero; the share of each area is a multiple.
        stripe_size: u32,
        /// In the order of the turns.
        areas: Vec<Area>,
    },
    /// In each of several areas, which are as long as the segment: the type `mirror`.
    Mirror {
        /// The copies, at least one.
        areas: Vec<Area>,
        /// The logical volume that says which parts of the copies are equal; none if that is kept in memory only.
        log: Option<usize>,
        /// What a bit of the log stands for, in sectors of 512 bytes.
        region_size: u32,
    },
    /// On images, with or without redundancy: the types `raid0` to `raid10`.
    Raid(Raid),
    /// Where the pool's metadata says.
    Thin(Thin),
    /// What thin volumes are made of.
    ThinPool(ThinPool),
    /// On another logical volume, but for chunks that a store holds. The segment of a hidden volume, which ties the two.
    Snapshot(Snapshot),
    /// On another logical volume, of which some blocks are kept on a faster one: the type `cache`.
    Cache(Cache),
    /// What a cache is made of.
    CachePool(CachePool),
    /// On another logical volume, unless a block was not written there yet: the type `writecache`.
    Writecache(Writecache),
    /// Nowhere: they read as zeros.
    Zero,
    /// Nowhere: they cannot be read. What LVM2 leaves of a physical volume that was given up.
    Error,
    /// A type that this crate does not interpret: `vdo`, `integrity`.
    Other {
        /// The type. Flags that one must know to use the segment may follow: `vdo+FLAG`.
        kind: String,
        /// Everything that the text says of the segment.
        section: Section,
    },
}

/// A run of extents of a physical volume or of another logical volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// What the extents belong to.
    pub target: Target,
    /// The first of them. The run lies inside the target.
    pub start: u32,
}

/// What an area lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// An index of [`VolumeGroup::physical_volumes`](crate::VolumeGroup::physical_volumes).
    Physical(usize),
    /// An index of [`VolumeGroup::logical_volumes`](crate::VolumeGroup::logical_volumes).
    Logical(usize),
}

/// A segment of a RAID type.
#[derive(Clone, Debug, PartialEq)]
pub struct Raid {
    /// The type as the text has it: `raid1`, `raid5_ls`, `raid6_zr`.
    pub kind: String,
    /// In sectors of 512 bytes; zero for types without stripes.
    pub stripe_size: u32,
    /// How many copies `raid10` makes, if the text says.
    pub data_copies: Option<u32>,
    /// How many extents of each image are kept for a reshape: before its data, or behind.
    pub reshape_extents: u32,
    /// In the order of their positions, at least one.
    pub images: Vec<RaidImage>,
}

/// How many there are: each was named in a text, which is shorter than 4 GiB.
pub(crate) fn count<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).expect("a text is shorter")
}

impl Raid {
    /// How many images there would be without redundancy.
    fn data_images(&self) -> u32 {
        let (images, is) = (count(&self.images), |level| self.kind.starts_with(level));
        match () {
            () if is("raid10") => images / self.data_copies.unwrap_or(2).max(1),
            () if is("raid1") => 1,
            () if is("raid4") || is("raid5") => images.saturating_sub(1),
            () if is("raid6") => images.saturating_sub(2),
            () => images,
        }
    }
}

/// One image of a [`Raid`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaidImage {
    /// The logical volume with its superblock and bitmap; `raid0` has none.
    pub metadata: Option<usize>,
    /// The logical volume with its data.
    pub data: usize,
}

/// A segment of the type `thin`.
#[derive(Clone, Debug, PartialEq)]
pub struct Thin {
    /// The logical volume with the pool.
    pub pool: usize,
    /// What the pool's metadata calls it.
    pub device_id: u32,
    /// The logical volume that is read where the thin volume has no block of its own.
    pub external_origin: Option<usize>,
    /// The logical volume that is to become what this one is, as soon as it is not in use.
    pub merge: Option<usize>,
}

/// A segment of the type `thin-pool`.
#[derive(Clone, Debug, PartialEq)]
pub struct ThinPool {
    /// The logical volume with the mapping.
    pub metadata: usize,
    /// The logical volume with the blocks.
    pub data: usize,
    /// How often the set of its volumes was changed, as LVM2 counts.
    pub transaction_id: u64,
    /// The size of a block in sectors of 512 bytes.
    pub chunk_size: u32,
}

/// A segment of the type `snapshot`.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The logical volume of which this is a snapshot.
    pub origin: usize,
    /// The logical volume with what differs, which stands for the snapshot: the two have one name.
    pub store: usize,
    /// The size of a chunk in sectors of 512 bytes.
    pub chunk_size: u32,
    /// Whether the origin is to become what the snapshot is.
    pub merging: bool,
}

/// A segment of the type `cache`.
#[derive(Clone, Debug, PartialEq)]
pub struct Cache {
    /// The logical volume that is cached.
    pub origin: usize,
    /// The logical volume with the pool, or one that holds both data and metadata.
    pub pool: usize,
    /// Where these two lie, if `pool` holds both.
    pub single: Option<SingleCache>,
    /// `writeback`, `writethrough` or `passthrough`, if the text says it here and not in the pool.
    pub mode: Option<String>,
}

/// The parts of a logical volume that is a whole cache. Sizes and places are in sectors of 512 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SingleCache {
    /// Where the metadata starts.
    pub metadata_start: u64,
    /// How long it is.
    pub metadata_len: u64,
    /// Where the blocks start.
    pub data_start: u64,
    /// How long they are.
    pub data_len: u64,
}

/// A segment of the type `cache-pool`.
#[derive(Clone, Debug, PartialEq)]
pub struct CachePool {
    /// The logical volume with the mapping.
    pub metadata: usize,
    /// The logical volume with the blocks.
    pub data: usize,
    /// `writeback`, `writethrough` or `passthrough`, if the text says.
    pub mode: Option<String>,
}

/// A segment of the type `writecache`.
#[derive(Clone, Debug, PartialEq)]
pub struct Writecache {
    /// The logical volume that is cached.
    pub origin: usize,
    /// The logical volume with what was not written there yet.
    pub cache: usize,
    /// In bytes.
    pub block_size: u32,
}

impl Mapping {
    /// The segment type, as LVM2's tools print it: without flags.
    pub fn kind(&self) -> &str {
        match self {
            Self::Linear(_) => "linear",
            Self::Striped { .. } => "striped",
            Self::Mirror { .. } => "mirror",
            Self::Raid(raid) => &raid.kind,
            Self::Thin(_) => "thin",
            Self::ThinPool(_) => "thin-pool",
            Self::Snapshot(_) => "snapshot",
            Self::Cache(_) => "cache",
            Self::CachePool(_) => "cache-pool",
            Self::Writecache(_) => "writecache",
            Self::Zero => "zero",
            Self::Error => "error",
            Self::Other { kind, .. } => without_flags(kind),
        }
    }

    /// The areas that the segment is made of; none for types that name whole volumes.
    pub fn areas(&self) -> &[Area] {
        match self {
            Self::Linear(area) => std::slice::from_ref(area),
            Self::Striped { areas, .. } | Self::Mirror { areas, .. } => areas,
            _ => &[],
        }
    }

    /// The logical volumes that the segment is computed from, as indices, those in areas too.
    pub fn logical(&self) -> Vec<usize> {
        match self {
            Self::Linear(_) | Self::Striped { .. } => self.logical_areas().collect(),
            Self::Mirror { log, .. } => self.logical_areas().chain(*log).collect(),
            Self::Raid(raid) => {
                raid.images.iter().flat_map(|image| image.metadata.into_iter().chain([image.data])).collect()
            }
            Self::Thin(thin) => std::iter::once(thin.pool).chain(thin.external_origin).collect(),
            Self::ThinPool(ThinPool { metadata, data, .. }) | Self::CachePool(CachePool { metadata, data, .. }) => {
                vec![*metadata, *data]
            }
            Self::Snapshot(snapshot) => vec![snapshot.origin, snapshot.store],
            Self::Cache(cache) => vec![cache.origin, cache.pool],
            Self::Writecache(cache) => vec![cache.origin, cache.cache],
            Self::Zero | Self::Error | Self::Other { .. } => Vec::new(),
        }
    }

    fn logical_areas(&self) -> impl Iterator<Item = usize> {
        self.areas().iter().filter_map(|area| match area.target {
            Target::Logical(index) => Some(index),
            Target::Physical(_) => None,
        })
    }
}

fn without_flags(kind: &str) -> &str {
    kind.split('+').next().unwrap_or(kind)
}

/// The indices of volumes by their names in the text.
pub(crate) struct Names<'t> {
    pub physical: HashMap<&'t str, usize>,
    pub logical: HashMap<&'t str, usize>,
}

impl Names<'_> {
    /// The logical volume of this name.
    fn logical(&self, name: &str, section: &Section) -> Result<usize> {
        let index = self.logical.get(name).copied();
        index.ok_or_else(|| section.place.error(format!("no logical volume \"{}\" in this group", name.escape_debug())))
    }

    /// The logical volume that this key names.
    fn named(&self, section: &Section, key: &str) -> Result<usize> {
        self.logical(section.string(key)?, section)
    }

    /// The logical volume that this key names, if it is there.
    fn maybe(&self, section: &Section, key: &str) -> Result<Option<usize>> {
        section.value(key).map(|_| self.named(section, key)).transpose()
    }
}

impl Segment {
    /// How many extents of each of its areas it takes.
    pub fn share(&self) -> u32 {
        match &self.mapping {
            Mapping::Striped { areas, .. } => self.extents.checked_div(count(areas)).unwrap_or(0),
            _ => self.extents,
        }
    }

    pub(crate) fn parse(section: &Section, names: &Names<'_>) -> Result<Self> {
        let kind = section.string("type")?;
        let mapping = match kind {
            "striped" | "linear" => stripes(section, names)?,
            "zero" => Mapping::Zero,
            "error" => Mapping::Error,
            "mirror" => mirror(section, names)?,
            "thin" => Mapping::Thin(Thin {
                pool: names.named(section, "thin_pool")?,
                device_id: section.integer("device_id")?,
                external_origin: names.maybe(section, "external_origin")?,
                merge: names.maybe(section, "merge")?,
            }),
            "thin-pool" => Mapping::ThinPool(ThinPool {
                metadata: names.named(section, "metadata")?,
                data: names.named(section, "pool")?,
                transaction_id: section.integer("transaction_id")?,
                chunk_size: section.integer("chunk_size")?,
            }),
            "snapshot" => snapshot(section, names)?,
            "cache" | "cache+CACHE_VOL" | "cache+CACHE_USES_CACHEVOL" => cache(section, names)?,
            "cache-pool" | "cache-pool+METADATA_FORMAT" => Mapping::CachePool(CachePool {
                metadata: names.named(section, "metadata")?,
                data: names.named(section, "data")?,
                mode: cache_mode(section)?,
            }),
            "writecache" => Mapping::Writecache(Writecache {
                origin: names.named(section, "origin")?,
                cache: names.named(section, "writecache")?,
                block_size: section.integer("writecache_block_size")?,
            }),
            _ if is_raid(kind) => raid(without_flags(kind), section, names)?,
            _ => Mapping::Other { kind: kind.into(), section: section.clone() },
        };
        let mut extents: u32 = section.integer("extent_count")?;
        // Space that images keep for a reshape is counted too, but holds nothing of the volume.
        if let Mapping::Raid(raid) = &mapping
            && raid.reshape_extents > 0
        {
            let kept = raid.data_images().checked_mul(raid.reshape_extents);
            let left = kept.and_then(|kept| extents.checked_sub(kept));
            let why = || section.place.error(format!("{} extents kept of {extents}", raid.reshape_extents));
            extents = left.ok_or_else(why)?;
        }
        Ok(Self { start: section.integer("start_extent")?, extents, mapping })
    }
}

/// The areas that a list of names and first extents describes, as many as `count` says.
fn areas(section: &Section, names: &Names<'_>, key: &str, count: &str) -> Result<Vec<Area>> {
    let error = |why: String| section.place.error(why);
    let Some(Value::Array(values)) = section.value(key) else {
        return Err(error(format!("no array \"{key}\" in this segment")));
    };
    let mut areas = Vec::with_capacity(values.len() / 2);
    for pair in values.chunks(2) {
        let [Value::String(name), Value::Integer(start)] = pair else {
            return Err(error(format!("\"{key}\" is not a list of names and extents")));
        };
        let physical = names.physical.get(name.as_str()).map(|index| Target::Physical(*index));
        let target = physical.or_else(|| names.logical.get(name.as_str()).map(|index| Target::Logical(*index)));
        let target = target.ok_or_else(|| error(format!("no volume \"{}\" in this group", name.escape_debug())))?;
        let start = u32::try_from(*start).map_err(|_| error(format!("extent {start} is out of range")))?;
        areas.push(Area { target, start });
    }
    let wanted: usize = section.integer(count)?;
    if wanted != areas.len() {
        return Err(error(format!("{count} {wanted}, but there are {} {key}", areas.len())));
    }
    if areas.is_empty() {
        return Err(error(format!("a segment of no {key}")));
    }
    Ok(areas)
}

fn stripes(section: &Section, names: &Names<'_>) -> Result<Mapping> {
    let areas = areas(section, names, "stripes", "stripe_count")?;
    match areas[..] {
        [area] => Ok(Mapping::Linear(area)),
        _ => Ok(Mapping::Striped { stripe_size: section.integer("stripe_size")?, areas }),
    }
}

fn mirror(section: &Section, names: &Names<'_>) -> Result<Mapping> {
    let region_size = section.value("region_size").map(|_| section.integer("region_size")).transpose()?;
    Ok(Mapping::Mirror {
        areas: areas(section, names, "mirrors", "mirror_count")?,
        log: names.maybe(section, "mirror_log")?,
        region_size: region_size.unwrap_or(0),
    })
}

/// Whether this is a type of RAID, with no flags but those that say that images have space for a reshape.
fn is_raid(kind: &str) -> bool {
    let mut parts = kind.split('+');
    let flags = ["RESHAPE", "RESHAPE_DATA_OFFSET"];
    parts.next().is_some_and(|kind| kind.starts_with("raid")) && parts.all(|flag| flags.contains(&flag))
}

fn raid(kind: &str, section: &Section, names: &Names<'_>) -> Result<Mapping> {
    let optional = |key: &str| section.value(key).map(|_| section.integer::<u32>(key)).transpose();
    let (key, count, with_metadata) = match kind {
        "raid0" => ("raid0_lvs", "stripe_count", false),
        "raid0_meta" => ("raids", "stripe_count", true),
        _ => ("raids", "device_count", true),
    };
    let listed = section.strings(key)?;
    let mut images = Vec::with_capacity(listed.len());
    for names_of_image in listed.chunks(1 + usize::from(with_metadata)) {
        images.push(match names_of_image {
            [data] if !with_metadata => RaidImage { metadata: None, data: names.logical(data, section)? },
            [metadata, data] => {
                RaidImage { metadata: Some(names.logical(metadata, section)?), data: names.logical(data, section)? }
            }
            _ => return Err(section.place.error(format!("\"{key}\" is not a list of images"))),
        });
    }
    let wanted: usize = section.integer(count)?;
    if wanted != images.len() || images.is_empty() {
        return Err(section.place.error(format!("{count} {wanted}, but there are {} {key}", images.len())));
    }
    Ok(Mapping::Raid(Raid {
        kind: kind.into(),
        stripe_size: optional("stripe_size")?.unwrap_or(0),
        data_copies: optional("data_copies")?,
        reshape_extents: optional("reshape_count")?.unwrap_or(0),
        images,
    }))
}

fn snapshot(section: &Section, names: &Names<'_>) -> Result<Mapping> {
    let merging = names.maybe(section, "merging_store")?;
    let store = match (names.maybe(section, "cow_store")?, merging) {
        (Some(store), None) | (None, Some(store)) => store,
        _ => return Err(section.place.error("a snapshot needs one of \"cow_store\" and \"merging_store\"")),
    };
    Ok(Mapping::Snapshot(Snapshot {
        origin: names.named(section, "origin")?,
        store,
        chunk_size: section.integer("chunk_size")?,
        merging: merging.is_some(),
    }))
}

fn cache(section: &Section, names: &Names<'_>) -> Result<Mapping> {
    let single = match section.value("metadata_start") {
        None => None,
        Some(_) => Some(SingleCache {
            metadata_start: section.integer("metadata_start")?,
            metadata_len: section.integer("metadata_len")?,
            data_start: section.integer("data_start")?,
            data_len: section.integer("data_len")?,
        }),
    };
    Ok(Mapping::Cache(Cache {
        origin: names.named(section, "origin")?,
        pool: names.named(section, "cache_pool")?,
        single,
        mode: cache_mode(section)?,
    }))
}

fn cache_mode(section: &Section) -> Result<Option<String>> {
    section.value("cache_mode").map(|_| section.string("cache_mode").map(Into::into)).transpose()
}

#[cfg(test)]
mod tests;
