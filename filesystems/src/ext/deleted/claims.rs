//! Who had a block, and when: what takes the promise from an older owner.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use zerocopy::FromBytes;
use zerocopy::little_endian::U32;

use super::candidates::Identity;
use super::geometry::Geometry;
use crate::ext::layout::{
    self, DIRECT_BLOCKS, EXTENT_INIT_MAX_LEN, EXTENT_MAGIC, Extent, ExtentHeader, inode_flags, mode,
};

/// How many claims are kept (ours): 32 bytes each. With more no file is promised to be intact.
const MAX_CLAIMS: usize = 1 << 20;

/// What an inode takes whose map was seen, in bytes, about.
const SEEN: usize = 48;

/// The owner of a block of which the journal has a copy: it was metadata, or content with data=journal.
pub(super) const METADATA: Identity = (0, 0);
/// The owner of blocks to which a block points that may be an indirect block.
pub(super) const POINTED_TO: Identity = (0, 1);

/// Somebody had these blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Claim {
    pub(super) start: u64,
    pub(super) end: u64,
    /// The transaction's place in time; `None` if it is not known.
    pub(super) order: Option<i64>,
    /// The inode; or the seed of its checksums and 0.
    pub(super) owner: Identity,
}

impl Claim {
    /// Whether it is not known which inode had the blocks.
    pub(super) fn is_of_unknown(&self) -> bool {
        self.owner.0 == 0
    }
}

/// All claims on blocks that are free now, or that nobody wrote since.
#[derive(Default)]
pub(super) struct Claims {
    written: List,
    /// On space that was not written yet.
    reserved: List,
    /// On indirect blocks, which are written to the journal first, and perhaps nowhere else.
    maps: List,
    seen: HashMap<Identity, u64>,
    /// Whether some were passed over, so that no promise can be made.
    pub(super) overflow: bool,
}

/// What the blocks of a claim were taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// For content that was written.
    Written,
    /// For content that was not written yet.
    Reserved,
    /// For a map.
    Map,
}

/// Claims by where they begin.
#[derive(Default)]
struct List {
    claims: Vec<Claim>,
    /// The longest in blocks.
    longest: u64,
}

impl Claims {
    /// Adds a claim on the blocks `start .. end`, which were written.
    pub(super) fn add(&mut self, geometry: &Geometry<'_>, start: u64, end: u64, order: Option<i64>, owner: Identity) {
        self.add_for(geometry, Claim { start, end, order, owner }, Purpose::Written);
    }

    /// Adds a claim, unless its blocks are all in use: then the bitmap says enough.
    pub(super) fn add_for(&mut self, geometry: &Geometry<'_>, mut claim: Claim, purpose: Purpose) {
        claim.end = claim.end.min(geometry.volume.superblock().blocks);
        let Claim { start, end, .. } = claim;
        if start < end && !geometry.afford(end - start) {
            self.overflow = true;
            return;
        }
        let mut free = geometry.stretches(start, end).map(|(free, _)| free);
        if start >= end || !free.any(|free| free) && geometry.reserved_in(start, end).next().is_none() {
            return;
        }
        let count = self.written.claims.len() + self.reserved.claims.len() + self.maps.claims.len();
        if count >= MAX_CLAIMS || !geometry.room.take(2 * size_of::<Claim>()) {
            self.overflow = true;
            return;
        }
        let list = match purpose {
            Purpose::Written => &mut self.written,
            Purpose::Reserved => &mut self.reserved,
            Purpose::Map => &mut self.maps,
        };
        list.longest = list.longest.max(end - start);
        list.claims.push(claim);
    }

    /// Adds what an inode in the journal maps by itself.
    pub(super) fn add_inode(&mut self, geometry: &Geometry<'_>, raw: &layout::Inode, order: Option<i64>, number: u32) {
        if !matches!(raw.i_mode.get() & mode::TYPE, mode::FILE | mode::DIRECTORY | mode::SYMLINK)
            || raw.i_flags.get() & inode_flags::INLINE_DATA != 0
            || raw.i_blocks_lo.get() == 0
        {
            return;
        }
        let owner = (number, raw.i_generation.get());
        // The same blocks again at a later time are no news to those who had them before the first time, but a later
        // order must win: the newest copy of an unchanged map is seen when the map was made.
        let mut hasher = DefaultHasher::new();
        (raw.i_block, order.is_none()).hash(&mut hasher);
        match self.seen.insert(owner, hasher.finish()) {
            Some(same) if same == hasher.finish() => return,
            Some(_) => {}
            None => self.overflow |= !geometry.room.take(SEEN),
        }
        let acl = u64::from(raw.i_file_acl_lo.get()) | u64::from(raw.l_i_file_acl_high.get()) << 32;
        if acl != 0 {
            self.add(geometry, acl, acl.saturating_add(1), order, METADATA);
        }
        if raw.i_flags.get() & inode_flags::EXTENTS != 0 {
            self.add_leaf(geometry, &raw.i_block, order, owner);
        } else if let Ok(pointers) = <[U32]>::ref_from_bytes(&raw.i_block) {
            for (index, pointer) in pointers.iter().enumerate().filter(|(_, pointer)| pointer.get() != 0) {
                let start = u64::from(pointer.get());
                let purpose = if (index as u64) < DIRECT_BLOCKS { Purpose::Written } else { Purpose::Map };
                self.add_for(geometry, Claim { start, end: start + 1, order, owner }, purpose);
            }
        }
    }

    /// Adds what a leaf of an extent tree maps, if it is one.
    pub(super) fn add_leaf(&mut self, geometry: &Geometry<'_>, node: &[u8], order: Option<i64>, owner: Identity) {
        let Ok((header, rest)) = ExtentHeader::ref_from_prefix(node) else { return };
        if header.eh_magic.get() != EXTENT_MAGIC || header.eh_depth.get() != 0 {
            return;
        }
        let count = usize::from(header.eh_entries.get());
        for extent in rest.chunks_exact(size_of::<Extent>()).take(count) {
            let Ok(extent) = Extent::ref_from_bytes(extent) else { return };
            let start = u64::from(extent.ee_start_hi.get()) << 32 | u64::from(extent.ee_start_lo.get());
            let (len, purpose) = match extent.ee_len.get() {
                len if len <= EXTENT_INIT_MAX_LEN => (len, Purpose::Written),
                biased => (biased - EXTENT_INIT_MAX_LEN, Purpose::Reserved),
            };
            self.add_for(geometry, Claim { start, end: start + u64::from(len), order, owner }, purpose);
        }
    }

    /// Makes the claims ready to be asked for.
    pub(super) fn sort(&mut self) {
        self.seen = HashMap::new();
        for list in [&mut self.written, &mut self.reserved, &mut self.maps] {
            list.claims.sort_unstable();
            list.claims.dedup();
        }
    }

    /// The claims on any of the blocks `start .. end` that were written.
    pub(super) fn on(&self, start: u64, end: u64) -> impl Iterator<Item = &Claim> {
        self.written.on(start, end)
    }

    /// The claims on any of the blocks `start .. end` that were not written yet.
    pub(super) fn reserved_on(&self, start: u64, end: u64) -> impl Iterator<Item = &Claim> {
        self.reserved.on(start, end)
    }

    /// The claims on any of the blocks `start .. end` for indirect blocks.
    pub(super) fn maps_on(&self, start: u64, end: u64) -> impl Iterator<Item = &Claim> {
        self.maps.on(start, end)
    }
}

impl List {
    fn on(&self, start: u64, end: u64) -> impl Iterator<Item = &Claim> {
        let first = self.claims.partition_point(|claim| claim.start.saturating_add(self.longest) <= start);
        self.claims[first..].iter().take_while(move |claim| claim.start < end).filter(move |claim| claim.end > start)
    }
}
