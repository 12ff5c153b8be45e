//! Where everything lies on a FAT volume: the boot sector, validated.

use images::{Disk, Error, Result, corrupt, unsupported};
use zerocopy::FromBytes;

use super::layout::*;

/// How wide the entries of the FAT are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    Fat12,
    Fat16,
    Fat32,
}

/// Where the root directory lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// At this byte, with room for so many entries.
    Fixed(u64, u32),
    /// In the chain of this cluster.
    Chain(u32),
}

/// A FAT volume's layout. All offsets are in bytes from the start of the disk, and at most 2^45.
#[derive(Clone, Debug)]
pub struct Geometry {
    pub width: Width,
    /// In bytes, a power of two of 512 or more.
    pub cluster_size: u32,
    /// How many clusters there are; their numbers start at 2.
    pub clusters: u32,
    /// The FAT that is in use.
    pub fat: u64,
    /// Another copy of it, if there is one: by the rules the same, if it was always kept.
    pub other_fat: Option<u64>,
    /// The length of a FAT in bytes.
    pub fat_size: u64,
    /// All FATs that are kept: those to be written.
    pub kept_fats: Vec<u64>,
    pub root: Root,
    /// Where cluster 2 begins.
    pub data: u64,
    /// Where the volume ends.
    pub end: u64,
    /// The FSInfo sector of FAT32.
    pub fs_info: Option<u64>,
    /// The label of the boot sector, which may be out of date.
    pub label: Option<[u8; 11]>,
    pub serial: Option<u32>,
    /// Whether the volume was not unmounted.
    pub dirty: bool,
    /// The byte in which that is said, if there is one.
    pub state: Option<u64>,
}

impl Geometry {
    /// Reads the boot sector. Fails with `Corrupt` if it does not describe a FAT volume; to probe is to try.
    pub fn read(disk: &dyn Disk) -> Result<Self> {
        let mut sector = [0; 512];
        disk.read_at(&mut sector, 0)?;
        let (bpb, rest) = Bpb::read_from_prefix(&sector).expect("512 bytes hold it");
        let (tail16, _) = BootSectorTail::read_from_prefix(rest).expect("512 bytes hold it");
        // The type is for people, but OS/2 puts a likeness of a FAT12 or FAT16 boot sector before other file systems.
        if OTHER_TYPES.contains(&tail16.fil_sys_type) {
            return Err(bad("the type is that of another file system of OS/2"));
        }
        let (fat32, rest32) = Fat32Bpb::read_from_prefix(rest).expect("512 bytes hold it");
        let (tail32, _) = BootSectorTail::read_from_prefix(rest32).expect("512 bytes hold it");
        if sector[510..] != SIGNATURE && ![tail16, tail32].iter().any(|tail| tail.fil_sys_type.starts_with(b"FAT")) {
            return Err(bad("the last two bytes are not 0x55 0xaa, and the type is not FAT"));
        }
        let sizes = Sizes::of(&bpb, &fat32, disk.size())?;
        let Sizes { sector_size, per_cluster, is_fat32, fat_sectors, reserved, root_sector, data_sector, .. } = sizes;
        let (width, clusters) = sizes.clusters()?;
        let active = match fat32.ext_flags.get() {
            flags if is_fat32 && flags & MIRRORING_OFF != 0 => u64::from(flags & ACTIVE_FAT),
            _ => 0,
        };
        if active >= bpb.num_fats.into() {
            return Err(bad(format!("FAT {active} is in use, but there are {}", bpb.num_fats)));
        }
        let is_mirrored = !is_fat32 || fat32.ext_flags.get() & MIRRORING_OFF == 0;
        let kept_fats = (0..u64::from(bpb.num_fats)).filter(|number| is_mirrored || *number == active);
        let fs_info = u64::from(fat32.fs_info.get());
        let tail = if is_fat32 { tail32 } else { tail16 };
        let has_state = matches!(tail.boot_sig, SERIAL_SIG | EXTENDED_SIG);
        let root = if is_fat32 {
            if fat32.fs_ver.get() != 0 {
                return Err(unsupported!("{disk}: FAT32 of version {:#x}, want 0", fat32.fs_ver.get()));
            }
            Root::Chain(fat32.root_clus.get() & 0x0fff_ffff)
        } else {
            Root::Fixed(root_sector * sector_size, bpb.root_ent_cnt.get().into())
        };
        Ok(Self {
            width,
            cluster_size: u32::try_from(sector_size * per_cluster).expect("at most 2^19"),
            clusters,
            fat: (reserved + active * fat_sectors) * sector_size,
            fat_size: fat_sectors * sector_size,
            kept_fats: kept_fats.map(|number| (reserved + number * fat_sectors) * sector_size).collect(),
            other_fat: (bpb.num_fats > 1).then(|| (reserved + u64::from(active == 0) * fat_sectors) * sector_size),
            root,
            data: data_sector * sector_size,
            end: sizes.sectors * sector_size,
            fs_info: (is_fat32 && (1..reserved).contains(&fs_info)).then_some(fs_info * sector_size),
            label: (tail.boot_sig == EXTENDED_SIG && tail.vol_lab != NO_NAME).then_some(tail.vol_lab),
            serial: has_state.then_some(tail.vol_id.get()),
            dirty: has_state && tail.reserved1 & DIRTY != 0,
            state: has_state.then_some(if is_fat32 { STATE_32 } else { STATE_16 }),
        })
    }

    /// Whether a cluster of this number exists.
    pub fn has(&self, cluster: u32) -> bool {
        cluster.checked_sub(FIRST_CLUSTER).is_some_and(|index| index < self.clusters)
    }

    /// Where a cluster begins, in bytes. The cluster must exist.
    pub fn offset_of(&self, cluster: u32) -> u64 {
        self.data + u64::from(cluster - FIRST_CLUSTER) * u64::from(self.cluster_size)
    }

    /// How many clusters so many bytes take.
    pub fn clusters_for(&self, size: u64) -> u32 {
        u32::try_from(size.div_ceil(self.cluster_size.into())).unwrap_or(u32::MAX)
    }
}

fn bad(why: impl std::fmt::Display) -> Error {
    corrupt!("FAT boot sector", 0u64, "{why}")
}

/// How large the parts of a volume are: all but the first two in sectors.
struct Sizes {
    /// In bytes.
    sector_size: u64,
    /// How many sectors a cluster has.
    per_cluster: u64,
    is_fat32: bool,
    /// One copy of the FAT.
    fat_sectors: u64,
    /// What lies before the first FAT.
    reserved: u64,
    /// Where the root directory of FAT12 and FAT16 begins.
    root_sector: u64,
    /// Where the first cluster begins.
    data_sector: u64,
    /// The whole volume.
    sectors: u64,
}

impl Sizes {
    /// Fails with `Corrupt` if they do not fit to each other or to a disk of `disk_size` bytes.
    fn of(bpb: &Bpb, fat32: &Fat32Bpb, disk_size: u64) -> Result<Self> {
        let sector_size = u64::from(bpb.byts_per_sec.get());
        let per_cluster = u64::from(bpb.sec_per_clus);
        if !sector_size.is_power_of_two() || !(512..=4096).contains(&sector_size) {
            return Err(bad(format!("{sector_size} bytes a sector, want 512, 1024, 2048 or 4096")));
        }
        if !per_cluster.is_power_of_two() {
            return Err(bad(format!("{per_cluster} sectors a cluster, want a power of two")));
        }
        if bpb.rsvd_sec_cnt.get() == 0 || bpb.num_fats == 0 {
            return Err(bad("no reserved sector or no FAT"));
        }
        if bpb.media != 0xf0 && bpb.media < 0xf8 {
            return Err(bad(format!("media type {:#x}, want 0xf0 or 0xf8 to 0xff", bpb.media)));
        }
        // The kernel's rule: FAT32 is what has no 16-bit length of the FAT, however few clusters it has.
        let is_fat32 = bpb.fat_sz_16.get() == 0;
        let fat_sectors = if is_fat32 { fat32.fat_sz_32.get().into() } else { u64::from(bpb.fat_sz_16.get()) };
        let sectors = match bpb.tot_sec_16.get() {
            0 => u64::from(bpb.tot_sec_32.get()),
            sectors => sectors.into(),
        };
        let root_slots = bpb.root_ent_cnt.get();
        let root_size = u64::from(root_slots) * SLOT;
        if fat_sectors == 0 || !root_size.is_multiple_of(sector_size) || is_fat32 != (root_slots == 0) {
            return Err(bad(format!("FAT of {fat_sectors} sectors, root directory of {root_slots} entries")));
        }
        // All below is at most 2^32 sectors of 4096 bytes and 255 FATs of as many.
        let reserved = u64::from(bpb.rsvd_sec_cnt.get());
        let root_sector = reserved + u64::from(bpb.num_fats) * fat_sectors;
        let data_sector = root_sector + root_size / sector_size;
        if sectors.checked_sub(data_sector).is_none_or(|left| left < per_cluster) {
            return Err(bad(format!("{sectors} sectors, but the first cluster begins at {data_sector}")));
        }
        if data_sector * sector_size >= disk_size {
            return Err(bad(format!("the first cluster begins at sector {data_sector}, but the disk ends before it")));
        }
        Ok(Self { sector_size, per_cluster, is_fat32, fat_sectors, reserved, root_sector, data_sector, sectors })
    }

    /// How wide the entries of the FAT are, and how many clusters there are.
    fn clusters(&self) -> Result<(Width, u32)> {
        let all_clusters = (self.sectors - self.data_sector) / self.per_cluster;
        let (width, bits, limit) = match all_clusters {
            _ if self.is_fat32 => (Width::Fat32, 32, FAT32_CLUSTERS_MAX),
            ..=FAT12_CLUSTERS_MAX => (Width::Fat12, 12, FAT12_CLUSTERS_MAX),
            _ => (Width::Fat16, 16, FAT16_CLUSTERS_MAX),
        };
        // As in the kernel, clusters that the FAT has no room for do not exist.
        let in_fat = (self.fat_sectors * self.sector_size * 8 / bits).saturating_sub(FIRST_CLUSTER.into());
        if all_clusters > limit || in_fat == 0 {
            return Err(bad(format!("{all_clusters} clusters, and a FAT for {in_fat}")));
        }
        Ok((width, u32::try_from(all_clusters.min(in_fat)).expect("at most 2^28")))
    }
}
