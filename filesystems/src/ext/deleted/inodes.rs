//! The inode tables as they are now: which inodes live, and which are left of deleted nodes.

use images::{Error, Result};
use zerocopy::FromBytes;

use super::geometry::Geometry;
use crate::ext::layout::{self, InodeExtra, mode};
use crate::length::in_memory;
use crate::stored::Stored;

/// How much of an inode table is read at once, in bytes (ours).
const CHUNK: u64 = 1 << 20;

/// An inode that was used at some time, as its table has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Current {
    pub(super) number: u32,
    pub(super) generation: u32,
    /// It has names, or its bitmap says that it is in use.
    pub(super) live: bool,
    pub(super) directory: bool,
}

/// All inodes that were ever used.
pub(super) struct Inodes {
    /// Ascending by number.
    list: Vec<Current>,
    /// The latest time at which any of them was changed or made, in seconds since 1970.
    pub(super) last_change: i64,
}

impl Inodes {
    /// Reads all inode tables in the order of the disk; `each` is called with every inode that was ever used, its place
    /// (bytes) and its record.
    pub(super) fn read(geometry: &Geometry<'_>, each: &mut dyn FnMut(&Current, u64, &[u8])) -> Result<Self> {
        let (volume, superblock) = (geometry.volume, geometry.volume.superblock());
        let size = usize::from(superblock.inode_size);
        let mut inodes = Self { list: Vec::new(), last_change: 0 };
        let (mut buffer, mut stored) = (Vec::new(), Stored::new(&**volume.disk()));
        for table in &geometry.tables {
            let start = table.start * volume.block_size();
            let len = u64::from(table.used) * size as u64;
            let mut done = 0;
            while done < len {
                let at = start + done;
                let mut now = (len - done).min(CHUNK);
                let Ok(extent) = volume.disk().extent_at(at) else { break };
                if extent.data.reads_zero() {
                    // Whole records only.
                    done += (extent.len.min(len - done)).next_multiple_of(size as u64);
                    continue;
                }
                now = now.min(extent.len.next_multiple_of(size as u64));
                // What an image shows in many places is in one of them at most.
                if stored.count(at, now) < now {
                    done += now;
                    continue;
                }
                buffer.resize(in_memory(now), 0);
                match volume.disk().read_at(&mut buffer, at) {
                    Ok(()) => {}
                    // What cannot be read is passed over, a block at a time.
                    Err(Error::Io { .. }) if now > volume.block_size() => {
                        now = volume.block_size();
                        buffer.resize(in_memory(now), 0);
                        if volume.disk().read_at(&mut buffer, at).is_err() {
                            buffer.fill(0);
                        }
                    }
                    Err(_) => break,
                }
                for (index, record) in buffer.chunks_exact(size).enumerate() {
                    let inside = done + (index * size) as u64;
                    let index =
                        u32::try_from(inside / size as u64).expect("a table has as many inodes as 32 bits number");
                    let number = table.first_inode + index;
                    inodes.add(geometry, number, start + inside, record, each)?;
                }
                done += now;
            }
        }
        inodes.list.sort_unstable_by_key(|inode| inode.number);
        Ok(inodes)
    }

    fn add(
        &mut self,
        geometry: &Geometry<'_>,
        number: u32,
        at: u64,
        record: &[u8],
        each: &mut dyn FnMut(&Current, u64, &[u8]),
    ) -> Result<()> {
        let Ok((raw, rest)) = layout::Inode::ref_from_prefix(record) else { return Ok(()) };
        if raw.i_mode.get() & mode::TYPE == 0 {
            return Ok(());
        }
        let live = raw.i_links_count.get() != 0 && geometry.inode_in_use(number);
        let changed = i64::from(raw.i_ctime.get() as i32);
        let created = InodeExtra::ref_from_prefix(rest).map_or(0, |(extra, _)| i64::from(extra.i_crtime.get() as i32));
        self.last_change = self.last_change.max(changed).max(created);
        geometry.room.need(size_of::<Current>(), "the list of all inodes")?;
        let directory = raw.i_mode.get() & mode::TYPE == mode::DIRECTORY;
        let current = Current { number, generation: raw.i_generation.get(), live, directory };
        each(&current, at, record);
        self.list.push(current);
        Ok(())
    }

    /// An inode by number, if it was ever used.
    pub(super) fn get(&self, number: u32) -> Option<&Current> {
        let at = self.list.binary_search_by_key(&number, |inode| inode.number).ok()?;
        self.list.get(at)
    }

    /// Whether this very inode lives.
    pub(super) fn lives(&self, number: u32, generation: u32) -> bool {
        self.get(number).is_some_and(|inode| inode.live && inode.generation == generation)
    }

    /// All of them, ascending by number.
    pub(super) fn all(&self) -> impl Iterator<Item = &Current> {
        self.list.iter()
    }

    /// The directories, living and dead.
    pub(super) fn directories(&self) -> impl Iterator<Item = &Current> {
        self.list.iter().filter(|inode| inode.directory)
    }
}
