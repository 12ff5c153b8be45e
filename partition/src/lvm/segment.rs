//! From a logical volume's segments to bytes: one function a segment type.

use std::sync::Arc;

use images::disk::{Concat, Piece, View};
use images::{Disk, Error, Result, corrupt, unsupported};
use lvm2_parser::layout::SECTOR_SIZE;
use lvm2_parser::{Area, Cache, Mapping, Raid, RaidImage, Target, Thin, ThinPool};

use super::map::{Holder, Mapper, unshared};
use super::remap::remapped;
use super::scan::Place;
use super::striped::Striped;
use super::thin::{Pool, ThinVolume};
use super::{cache, mirror, raid, writecache};

/// The bytes of so many sectors, at most `u64::MAX`.
fn bytes(sectors: impl Into<u64>) -> u64 {
    sectors.into().saturating_mul(SECTOR_SIZE as u64)
}

/// Whether a disk that could not be built is one that is missing.
fn is_missing(error: &Error) -> bool {
    matches!(error.root(), Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
}

impl Mapper<'_> {
    /// The disk of a logical volume's segments.
    pub fn build(&mut self, index: usize) -> Result<Arc<dyn Disk>> {
        let metadata = self.metadata;
        let volume = &metadata.logical_volumes[index];
        let name = self.name(index);
        if let Some((physical, one, other)) = self.twice {
            // This is a doubt about the whole group: of which of the two is the metadata?
            let (one, other) = (&self.members[one], &self.members[other]);
            let uuid = metadata.physical_volumes[physical].uuid;
            return Err(Error::Ambiguous(format!(
                "{name}: {one} and {other} both claim to be physical volume {uuid}, give only one of them"
            )));
        }
        let mut pieces = Vec::with_capacity(volume.segments.len());
        for segment in &volume.segments {
            let size = metadata.bytes(segment.extents);
            pieces.push(match &segment.mapping {
                Mapping::Linear(area) => Piece::View(self.view(&name, *area, size)?),
                Mapping::Zero => Piece::Hole(size),
                Mapping::Error => Piece::Missing(size, "LVM gave up the physical volume that it was on".into()),
                other => {
                    let disk = self.segment(&name, index, other, size)?;
                    Piece::View(View::new(name.as_str(), disk, 0, size)?)
                }
            });
        }
        // Most volumes are one segment: no need to look for the piece at each read.
        if matches!(pieces[..], [Piece::View(_)])
            && let Some(Piece::View(view)) = pieces.pop()
        {
            return Ok(Arc::new(view));
        }
        Ok(Arc::new(Concat::new(name, pieces)?))
    }

    /// A segment of logical volume `index`, as a disk of at least `size` bytes.
    fn segment(&mut self, name: &str, index: usize, mapping: &Mapping, size: u64) -> Result<Arc<dyn Disk>> {
        match mapping {
            Mapping::Striped { stripe_size, areas } => {
                let share = size / areas.len().max(1) as u64;
                let views = areas.iter().map(|area| self.view(name, *area, share));
                let striped = Striped::new(name, bytes(*stripe_size), views.collect::<Result<_>>()?);
                Ok(Arc::new(striped.ok_or_else(|| corrupt!(name, 0u32, "uneven stripes"))?))
            }
            Mapping::Mirror { areas, log, region_size } => {
                let mut copies = Vec::with_capacity(areas.len());
                for area in areas {
                    copies.push(match self.view(name, *area, size) {
                        Ok(view) => Some(view),
                        Err(error) if is_missing(&error) => None,
                        Err(error) => return Err(error),
                    });
                }
                let log = log.and_then(|log| self.disk(log).ok());
                mirror::open(name, copies, log, bytes(*region_size), self.bounds)
            }
            Mapping::Raid(raid) => Ok(Arc::new(self.raid(name, raid, size)?)),
            Mapping::Thin(thin) => self.thin(name, index, thin, size),
            Mapping::Cache(cache) => self.cache(name, cache),
            Mapping::Writecache(cache) => {
                let (origin, data) = (self.below(name, cache.origin)?, self.below(name, cache.cache)?);
                let (holder, bounds) = (Holder::Writecache(cache.cache, cache.block_size), self.bounds);
                let copies = self.copies(holder, || writecache::open(name, data, cache.block_size, bounds))?;
                Ok(remapped(name, origin, copies))
            }
            Mapping::ThinPool(_) => {
                Err(unsupported!("{name}: a thin pool has no content of its own, its thin volumes have"))
            }
            other => {
                // The text may hold anything, and a message must not talk to the terminal.
                let [kind, full] = [other.kind(), segment_type(other)].map(|text| text.escape_debug().to_string());
                let why = if full == kind { String::new() } else { format!(" ({full})") };
                Err(unsupported!("{name}: LVM segment type {kind}{why} is not supported"))
            }
        }
    }

    /// The bytes of an area, `size` of them.
    fn view(&mut self, name: &str, area: Area, size: u64) -> Result<View> {
        match area.target {
            Target::Physical(index) => {
                let physical = &self.metadata.physical_volumes[index];
                let Some(Place::Member(member)) = self.group.places.get(index) else {
                    let last = physical.device.as_ref();
                    let last = last.map(|device| format!(", last seen as {}", device.escape_debug()));
                    let what =
                        format!("{name}: cannot find physical volume {}{}", physical.uuid, last.unwrap_or_default());
                    let why = "it is on none of the disks, add the one that it is on with -a";
                    return Err(Error::io(what, std::io::Error::new(std::io::ErrorKind::NotFound, why)));
                };
                let disk = self.members[*member].clone();
                let start = self.metadata.extent_offset(index, area.start);
                let start = start.ok_or_else(|| corrupt!(name, 0u32, "extent {} is out of range", area.start))?;
                View::new(name, disk, start, size)
            }
            Target::Logical(index) => View::new(name, self.below(name, index)?, self.metadata.bytes(area.start), size),
        }
    }

    fn raid(&mut self, name: &str, segment: &Raid, size: u64) -> Result<View> {
        let mut images = Vec::with_capacity(segment.images.len());
        for image in &segment.images {
            images.push(self.image(name, *image)?);
        }
        raid::open(name, segment, images, size, self.bounds)
    }

    /// An image of a RAID, or `None` if a disk that it lies on is missing or was given up.
    fn image(&mut self, name: &str, image: RaidImage) -> Result<Option<raid::Image>> {
        let metadata = self.metadata;
        let volumes = || image.metadata.into_iter().chain([image.data]).map(|index| &metadata.logical_volumes[index]);
        if volumes().flat_map(|volume| &volume.segments).any(|segment| segment.mapping == Mapping::Error) {
            return Ok(None);
        }
        let mut found = |index| match self.below(name, index) {
            Ok(disk) => Ok(Some(disk)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        };
        let own = image.metadata.map(&mut found).transpose()?;
        let Some(data) = found(image.data)? else { return Ok(None) };
        // LVM2 heeds this flag of the data alone, and may leave it on the metadata.
        let rebuild = metadata.logical_volumes[image.data].status.iter().any(|flag| flag == "REBUILD");
        Ok(match own {
            Some(None) => None,
            Some(metadata) => Some(raid::Image { metadata, data, rebuild }),
            None => Some(raid::Image { metadata: None, data, rebuild }),
        })
    }

    fn thin(&mut self, name: &str, index: usize, thin: &Thin, size: u64) -> Result<Arc<dyn Disk>> {
        let id = match self.merges.get(&index) {
            Some(id) => {
                log::warn!("{name}: a thin snapshot is being merged into it; what is read is the snapshot");
                *id
            }
            None => thin.device_id,
        };
        let pool = self.pool(name, thin.pool)?;
        let origin = thin.external_origin.map(|origin| self.below(name, origin)).transpose()?;
        Ok(Arc::new(ThinVolume::open(name, pool, id, size, origin)?))
    }

    /// The pool on this logical volume, for the thin volume `name`.
    fn pool(&mut self, name: &str, index: usize) -> Result<Arc<Pool>> {
        if let Some(known) = self.pools.get(&index) {
            return known.clone().map_err(|error| unshared(&error));
        }
        let metadata = self.metadata;
        let volume = &metadata.logical_volumes[index];
        let pool = match volume.segments.first().map(|segment| &segment.mapping) {
            Some(Mapping::ThinPool(pool)) => self.open_pool(name, index, pool),
            _ => Err(corrupt!(name, 0u32, "{} is no thin pool", volume.name)),
        };
        let pool = pool.map(Arc::new).map_err(Arc::new);
        self.pools.insert(index, pool.clone());
        pool.map_err(|error| unshared(&error))
    }

    fn open_pool(&mut self, name: &str, index: usize, pool: &ThinPool) -> Result<Pool> {
        let (metadata, data) = (self.below(name, pool.metadata)?, self.below(name, pool.data)?);
        Pool::open(&self.name(index), metadata, data, pool.chunk_size, pool.transaction_id, self.bounds)
    }

    fn cache(&mut self, name: &str, segment: &Cache) -> Result<Arc<dyn Disk>> {
        let volumes = self.metadata;
        let origin = self.below(name, segment.origin)?;
        let pool = &volumes.logical_volumes[segment.pool];
        let (mode, parts) = match (segment.single, pool.segments.first().map(|segment| &segment.mapping)) {
            (Some(single), _) => (
                &segment.mode,
                self.below(name, segment.pool).and_then(|disk| {
                    let part =
                        |start: u64, len: u64| View::new(name, disk.clone(), bytes(start), bytes(len)).map(Arc::new);
                    let metadata: Arc<dyn Disk> = part(single.metadata_start, single.metadata_len)?;
                    let data: Arc<dyn Disk> = part(single.data_start, single.data_len)?;
                    Ok((metadata, data))
                }),
            ),
            (None, Some(Mapping::CachePool(pool))) => (
                &pool.mode,
                self.below(name, pool.metadata).and_then(|metadata| Ok((metadata, self.below(name, pool.data)?))),
            ),
            (None, _) => return Err(corrupt!(name, 0u32, "{} is no cache pool", pool.name)),
        };
        match (mode.as_deref(), parts) {
            // Nothing is read from a cache in this mode, and what it holds may be old.
            (Some("passthrough"), _) => Ok(origin),
            (_, Ok((metadata, data))) => {
                let (holder, bounds) = (Holder::Cache(segment.pool, segment.single), self.bounds);
                let copies = self.copies(holder, || cache::open(name, metadata, data, bounds))?;
                Ok(remapped(name, origin, copies))
            }
            (Some("writethrough"), Err(error)) if is_missing(&error) => {
                log::warn!("{name}: its cache is missing; the origin holds the same");
                Ok(origin)
            }
            (_, Err(error)) => Err(error),
        }
    }
}

/// The segment type with its flags.
fn segment_type(mapping: &Mapping) -> &str {
    match mapping {
        Mapping::Other { kind, .. } => kind,
        other => other.kind(),
    }
}
