//! A disk whose power is cut, for tests of what survives: it records what is written and flushed.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::claim::{Claim, Claims};
use super::{Data, Disk, DiskMut, Extent, Memory, Properties, Writer, check_range};
use crate::Result;

/// What a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;

/// A disk in memory that records each step of its writers, to show what a cut of the power at any moment leaves.
pub struct PowerCut {
    /// The bytes that it began with.
    start: Vec<u8>,
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    state: Mutex<State>,
    claims: Claims,
}

#[derive(Default)]
struct State {
    now: Vec<u8>,
    steps: Vec<Step>,
}

/// What a writer did.
#[derive(Clone)]
enum Step {
    Write(u64, Vec<u8>),
    Zero(Range<u64>),
    Grow(u64),
    Flush,
}

/// What is left on a disk after its power was cut.
pub struct Cut {
    /// How many steps were done before the cut, as [`PowerCut::steps`] counts them.
    pub steps: usize,
    /// What is left: a disk that can be written again.
    pub disk: Memory,
}

impl PowerCut {
    /// A disk of these bytes.
    pub fn new(name: impl Into<String>, bytes: Vec<u8>) -> Self {
        let state = Mutex::new(State { now: bytes.clone(), steps: Vec::new() });
        Self { start: bytes, shared: Arc::new(Shared { name: name.into(), state, claims: Claims::default() }) }
    }

    /// How many steps were done: writes, zeros, discards and flushes. What a test does is durable in each cut of more
    /// steps than there were when the flush behind it returned, or as many.
    pub fn steps(&self) -> usize {
        self.shared.state().steps.len()
    }

    /// What a cut leaves that loses nothing, after each step: first none, at last all.
    pub fn prefixes(&self) -> impl Iterator<Item = Cut> + use<> {
        let (steps, mut bytes) = (self.shared.state().steps.clone(), self.start.clone());
        let name = self.shared.name.clone();
        (0..=steps.len()).map(move |done| {
            if let Some(last) = done.checked_sub(1) {
                steps[last].apply(&mut bytes, ALL);
            }
            Cut { steps: done, disk: Memory::new(name.clone(), bytes.clone()) }
        })
    }

    /// What so many cuts leave, each after any number of steps: all that was flushed, and of what was not any part. In
    /// every second one steps are there whole or not at all; in the others sectors are. The same `seed` has the same cuts.
    pub fn reordered(&self, seed: u64, cuts: usize) -> impl Iterator<Item = Cut> + use<> {
        let (steps, start) = (self.shared.state().steps.clone(), self.start.clone());
        let name = self.shared.name.clone();
        let mut random = Random(seed);
        (0..cuts).map(move |cut| {
            let done = random.below(steps.len() + 1);
            let flushed = steps[..done].iter().rposition(|step| matches!(step, Step::Flush)).unwrap_or(0);
            let mut bytes = start.clone();
            steps[..flushed].iter().for_each(|step| step.apply(&mut bytes, ALL));
            // Few of the steps are there, half, or most.
            let eighths = [1, 4, 7][random.below(3)];
            let unit = if cut % 2 == 0 { usize::MAX } else { SECTOR };
            for step in &steps[flushed..done] {
                let changed = step.bytes();
                let mut at = changed.start - changed.start % unit;
                loop {
                    let end = at.saturating_add(unit);
                    if random.below(8) < eighths {
                        step.apply(&mut bytes, at..end);
                    }
                    if end >= changed.end {
                        break;
                    }
                    at = end;
                }
            }
            Cut { steps: done, disk: Memory::new(name.clone(), bytes) }
        })
    }
}

/// What a step changes anywhere.
const ALL: Range<usize> = 0..usize::MAX;

impl Step {
    /// The bytes that it changes.
    fn bytes(&self) -> Range<usize> {
        let index = |at: u64| usize::try_from(at).expect("the disk is in memory");
        match self {
            Self::Write(offset, data) => index(*offset)..index(*offset) + data.len(),
            Self::Zero(bytes) => index(bytes.start)..index(bytes.end),
            Self::Grow(_) | Self::Flush => 0..0,
        }
    }

    /// Changes those of them that lie in `within`. A disk whose growth was lost grows by what is written behind its end.
    fn apply(&self, disk: &mut Vec<u8>, within: Range<usize>) {
        let bytes = self.bytes();
        let (start, end) = (bytes.start.max(within.start), bytes.end.min(within.end));
        let size = match self {
            Self::Grow(size) => usize::try_from(*size).expect("the disk is in memory"),
            _ => end,
        };
        if size > disk.len() {
            disk.resize(size, 0);
        }
        match self {
            Self::Write(_, data) if start < end => {
                disk[start..end].copy_from_slice(&data[start - bytes.start..end - bytes.start]);
            }
            Self::Zero(_) if start < end => disk[start..end].fill(0),
            _ => {}
        }
    }
}

/// Numbers by Sebastiano Vigna's SplitMix64: the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % end as u64) as usize
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for PowerCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shared.name)
    }
}

impl Disk for PowerCut {
    fn size(&self) -> u64 {
        self.shared.state().now.len() as u64
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        check_range(self, buf.len(), offset)?;
        buf.copy_from_slice(&self.shared.state().now[offset as usize..][..buf.len()]);
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        check_range(self, 1, offset)?;
        Ok(Extent { len: self.size() - offset, data: Data::Opaque })
    }

    fn properties(&self) -> Properties {
        Properties::default()
    }

    fn writer(&self, bytes: Range<u64>) -> Result<Writer> {
        let claim = self.shared.claims.take(self, bytes)?;
        Ok(Box::new(Recorder { shared: self.shared.clone(), claim }))
    }
}

/// The writer, which records what it does.
struct Recorder {
    shared: Arc<Shared>,
    claim: Claim,
}

impl Recorder {
    fn step(&self, step: Step, offset: u64, len: u64) -> Result<()> {
        let mut state = self.shared.state();
        self.claim.check(&self.shared.name, state.now.len() as u64, offset, len)?;
        step.apply(&mut state.now, ALL);
        state.steps.push(step);
        Ok(())
    }
}

impl DiskMut for Recorder {
    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        self.step(Step::Write(offset, data.to_vec()), offset, data.len() as u64)
    }

    fn zero_at(&self, offset: u64, len: u64) -> Result<()> {
        self.step(Step::Zero(offset..offset.saturating_add(len)), offset, len)
    }

    /// Zeros, which a cut may lose: then the bytes are as before.
    fn discard_at(&self, offset: u64, len: u64) -> Result<()> {
        self.zero_at(offset, len)
    }

    fn flush(&self) -> Result<()> {
        self.shared.state().steps.push(Step::Flush);
        Ok(())
    }

    fn grow(&self, size: u64) -> Result<()> {
        self.claim.check_end(&self.shared.name)?;
        let mut state = self.shared.state();
        if size > state.now.len() as u64 {
            let step = Step::Grow(size);
            step.apply(&mut state.now, ALL);
            state.steps.push(step);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
