//! A disk of which some blocks are read from another one: what snapshots and caches have in common.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use images::disk::check_range;
use images::{Budget, Disk, Error, Extent, Properties, Reservation, Result, ResultExt, Writer, corrupt, read_only};

/// How many runs are put in order the first time, to see whether a block is replaced twice; then at twice as many. Metadata
/// that names the same blocks again and again must not be read to its end.
const FIRST_CHECK: usize = 16;

/// Blocks that follow each other in both places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    /// The first of them, in the volume.
    block: u64,
    /// Where it lies on the other disk, in bytes.
    at: u64,
    blocks: u64,
}

/// The blocks that are read elsewhere.
pub struct Runs {
    block_size: u64,
    runs: Vec<Run>,
    /// How many runs there are when they are put in order the next time.
    next_check: usize,
    held: Reservation,
}

impl Runs {
    /// None yet, of blocks of so many bytes, which are not zero.
    pub fn new(block_size: u64, budget: &Budget) -> Self {
        Self { block_size: block_size.max(1), runs: Vec::new(), next_check: FIRST_CHECK, held: budget.empty() }
    }

    /// Adds block number `block`, which lies at byte `at` of the other disk. In any order.
    pub fn push(&mut self, block: u64, at: u64) -> Result<()> {
        let size = self.block_size;
        if let Some(last) = self.runs.last_mut() {
            let (next, next_at) = (last.block.checked_add(last.blocks), size.checked_mul(last.blocks));
            if next == Some(block) && next_at.and_then(|len| last.at.checked_add(len)) == Some(at) {
                last.blocks += 1;
                return Ok(());
            }
        }
        if self.runs.len() >= self.next_check {
            self.sort()?;
            self.next_check = self.runs.len().max(FIRST_CHECK) * 2;
        }
        if self.runs.len() == self.runs.capacity() {
            let more = self.runs.len().max(FIRST_CHECK);
            self.held.grow((more * size_of::<Run>()) as u64, "the list of its blocks that are stored elsewhere")?;
            self.runs.reserve_exact(more);
        }
        self.runs.push(Run { block, at, blocks: 1 });
        Ok(())
    }

    /// Puts them in order, and joins those that follow each other. Fails if a block is replaced twice.
    fn sort(&mut self) -> Result<()> {
        let size = self.block_size;
        self.runs.sort_unstable_by_key(|run| run.block);
        let overlap = |pair: &&[Run]| matches!(pair, [one, next] if one.block.saturating_add(one.blocks) > next.block);
        if let Some([_, twice]) = self.runs.windows(2).find(overlap) {
            return Err(corrupt!("replaced block", twice.at, "block {:#x} is replaced twice", twice.block));
        }
        self.runs.dedup_by(|next, one| {
            let end = one.blocks.checked_mul(size).and_then(|len| one.at.checked_add(len));
            let follows = one.block.checked_add(one.blocks) == Some(next.block) && end == Some(next.at);
            if follows {
                one.blocks += next.blocks;
            }
            follows
        });
        Ok(())
    }

    /// Puts them in order, and checks that each lies on the other disk, of `size` bytes, and replaces no block twice.
    fn finish(mut self, size: u64) -> Result<Self> {
        self.sort()?;
        for run in &self.runs {
            let end = run.blocks.checked_mul(self.block_size).and_then(|len| len.checked_add(run.at));
            let ends = run.block.checked_add(run.blocks).and_then(|end| end.checked_mul(self.block_size));
            if end.is_none_or(|end| end > size) || ends.is_none() {
                let Run { block, at, blocks } = run;
                return Err(corrupt!(
                    "replaced block",
                    *at,
                    "{blocks} blocks, {block:#x} and on, lie outside of {size:#x} bytes"
                ));
            }
        }
        self.runs.shrink_to_fit();
        let kept = (self.runs.capacity() * size_of::<Run>()) as u64;
        self.held.shrink(self.held.bytes().saturating_sub(kept));
        Ok(self)
    }

    /// Where byte `offset` lies on the other disk, if it does, and for how many bytes this holds.
    fn place(&self, offset: u64) -> (Option<u64>, u64) {
        let block = offset / self.block_size;
        let next = self.runs.partition_point(|run| run.block <= block);
        if let Some(run) = next.checked_sub(1).and_then(|index| self.runs.get(index)) {
            let (inside, len) = (offset - run.block * self.block_size, run.blocks * self.block_size);
            if inside < len {
                return (Some(run.at + inside), len - inside);
            }
        }
        (None, self.runs.get(next).map_or(u64::MAX, |run| run.block * self.block_size - offset))
    }
}

/// How the runs are found out.
pub type Load = Box<dyn Fn() -> Result<Runs> + Send + Sync>;

/// A disk of blocks that are read in place of others. Which they are is found out at the first read, once for all volumes
/// that claim them.
pub struct Copies {
    disk: Arc<dyn Disk>,
    load: Load,
    runs: OnceLock<std::result::Result<Runs, Arc<Error>>>,
}

impl Copies {
    /// Those that `load` says to lie on `disk`.
    pub fn new(disk: Arc<dyn Disk>, load: Load) -> Arc<Self> {
        Arc::new(Self { disk, load, runs: OnceLock::new() })
    }

    fn runs(&self) -> Result<&Runs> {
        let load = || (self.load)().and_then(|runs| runs.finish(self.disk.size())).map_err(Arc::new);
        self.runs.get_or_init(load).as_ref().map_err(|error| Error::Shared(error.clone()))
    }
}

/// The volume `name`: `base`, but for the blocks that `copies` has, if there are any.
pub fn remapped(name: &str, base: Arc<dyn Disk>, copies: Option<Arc<Copies>>) -> Arc<dyn Disk> {
    match copies {
        Some(copies) => Arc::new(Remapped { name: name.into(), base, copies }),
        None => base,
    }
}

/// A disk of which some blocks are read from another one.
struct Remapped {
    name: String,
    base: Arc<dyn Disk>,
    copies: Arc<Copies>,
}

impl Remapped {
    fn runs(&self) -> Result<&Runs> {
        self.copies.runs().within(&self.name)
    }
}

impl fmt::Display for Remapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Disk for Remapped {
    fn size(&self) -> u64 {
        self.base.size()
    }

    fn read_at(&self, mut buf: &mut [u8], mut offset: u64) -> Result<()> {
        check_range(self, buf.len(), offset)?;
        let runs = self.runs()?;
        while !buf.is_empty() {
            let (copy, len) = runs.place(offset);
            let len = usize::try_from(len).unwrap_or(usize::MAX).min(buf.len());
            let (now, rest) = buf.split_at_mut(len);
            match copy {
                Some(at) => self.copies.disk.read_at(now, at)?,
                None => self.base.read_at(now, offset)?,
            }
            buf = rest;
            offset += len as u64;
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        check_range(self, 1, offset)?;
        let (copy, len) = self.runs()?.place(offset);
        let extent = match copy {
            Some(at) => self.copies.disk.extent_at(at)?,
            None => self.base.extent_at(offset)?,
        };
        Ok(extent.at_most(len).at_most(self.size() - offset))
    }

    fn properties(&self) -> Properties {
        let (base, copies) = (self.base.properties(), self.copies.disk.properties());
        Properties { amplification: base.amplification.max(copies.amplification), ..base }
    }

    fn writer(&self, _: Range<u64>) -> Result<Writer> {
        Err(read_only!("{self} is a snapshot or is cached: such volumes are not written"))
    }
}

#[cfg(test)]
mod tests {
    use images::disk::Memory;

    use super::*;

    #[test]
    fn blocks_are_read_where_they_lie() {
        let base: Arc<dyn Disk> = Arc::new(Memory::new("base", vec![1; 100]));
        let copies: Arc<dyn Disk> = Arc::new(Memory::new("copies", (0..200).collect::<Vec<u8>>()));
        let load = || {
            let mut runs = Runs::new(10, &Budget::default());
            // The last block of the volume ends in the middle of one.
            for (block, at) in [(9, 20), (3, 100), (4, 110), (2, 90), (7, 0)] {
                runs.push(block, at)?;
            }
            Ok(runs)
        };
        let disk = Remapped { name: "volume".into(), base, copies: Copies::new(copies, Box::new(load)) };
        let mut want = [1; 100];
        want[20..50].copy_from_slice(&(90..120).collect::<Vec<u8>>());
        want[70..80].copy_from_slice(&(0..10).collect::<Vec<u8>>());
        want[90..].copy_from_slice(&(20..30).collect::<Vec<u8>>());
        for start in 0..100 {
            for end in start..=100 {
                let mut buf = vec![9; end - start];
                disk.read_at(&mut buf, start as u64).unwrap();
                assert_eq!(buf, want[start..end]);
            }
        }
        assert_eq!(disk.runs().unwrap().runs.len(), 3, "those that follow each other are one");
        assert_eq!((disk.extent_at(0).unwrap().len, disk.extent_at(22).unwrap().len), (20, 28));
        assert_eq!(disk.extent_at(95).unwrap().len, 5);
    }

    #[test]
    fn contradictions_are_errors_at_every_read() {
        for (blocks, want) in [
            (vec![(1, 0), (2, 50), (1, 10)], "block 0x1 is replaced twice"),
            (vec![(0, 195)], "outside of 0xc8 bytes"),
            (vec![(u64::MAX / 5, 0)], "outside of"),
        ] {
            let disk = |size| -> Arc<dyn Disk> { Arc::new(Memory::new("m", vec![0; size])) };
            let load = move || {
                let mut runs = Runs::new(10, &Budget::default());
                blocks.iter().try_for_each(|(block, at)| runs.push(*block, *at))?;
                Ok(runs)
            };
            let disk = remapped("vg/lv", disk(100), Some(Copies::new(disk(200), Box::new(load))));
            for _ in 0..2 {
                let error = disk.read_at(&mut [0; 10], 40).unwrap_err().to_string();
                assert!(error.starts_with("vg/lv: ") && error.contains(want), "{error}");
                assert!(disk.extent_at(0).is_err());
            }
        }
    }

    #[test]
    fn the_list_is_counted_and_ends_where_it_repeats_itself() {
        let budget = Budget::new(10_000);
        let mut runs = Runs::new(10, &budget);
        // Every second block, so that none follows another.
        let error = (0..).find_map(|block| runs.push(2 * block, 10 * block).err()).unwrap().to_string();
        assert!(error.starts_with("the list of its blocks that are stored elsewhere would take"), "{error}");
        assert!(runs.runs.len() > 200 && budget.free() < 5_000);
        let runs = runs.finish(1 << 20).unwrap();
        assert_eq!(budget.limit() - budget.free(), (runs.runs.len() * size_of::<Run>()) as u64);
        drop(runs);
        assert_eq!(budget.free(), 10_000);
        let mut again = Runs::new(10, &budget);
        let pushed = (0..1000).take_while(|number| again.push(2 * (number % 20), 10 * (number % 20)).is_ok()).count();
        assert!(pushed < 40, "{pushed}");
    }
}
