//! What a file's map says: runs of blocks.

/// Blocks of a file that lie together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first block's number in the file.
    pub logical: u64,
    /// How many blocks, at least 1.
    pub len: u64,
    /// Where they lie.
    pub state: State,
}

/// Where the blocks of a [`Run`] lie. Block numbers are checked: the whole run is inside the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nowhere; they read as zeros.
    Hole,
    /// At this block and after, but they were never written and read as zeros.
    Unwritten(u64),
    /// At this block and after.
    Written(u64),
}

impl Run {
    /// The first block after the run.
    pub fn end(&self) -> u64 {
        self.logical.saturating_add(self.len)
    }

    /// The part of the run from block `from` (inside the run) up to block `to`.
    pub(super) fn cut(&self, from: u64, to: u64) -> Self {
        let skip = from - self.logical;
        let state = match self.state {
            State::Hole => State::Hole,
            State::Unwritten(block) => State::Unwritten(block + skip),
            State::Written(block) => State::Written(block + skip),
        };
        Self { logical: from, len: self.end().min(to) - from, state }
    }

    /// Whether `next`, which starts where this run ends, has the same answer.
    pub(super) fn continues_with(&self, next: &Self) -> bool {
        match (self.state, next.state) {
            (State::Hole, State::Hole) => true,
            (State::Unwritten(block), State::Unwritten(then)) | (State::Written(block), State::Written(then)) => {
                block + self.len == then
            }
            _ => false,
        }
    }
}

/// Whether the caller wants more, and from which block the next step goes on.
pub(super) enum Step {
    /// The caller has enough.
    Stop,
    /// Go on at this block, which lies after the one asked for.
    On(u64),
}

/// The resolved map of a part of a file: runs without gaps, as long as possible.
pub struct Window {
    pub(super) runs: Box<[Run]>,
}

impl Window {
    /// The memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.runs)
    }
}
