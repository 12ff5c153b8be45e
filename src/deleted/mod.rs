//! What was deleted from the file systems in the images: what is wanted of it, and how it is written down and shown.

mod mount_tree;
mod pattern;
mod record;

use std::ops::RangeInclusive;

use filesystems::view::Found;
use filesystems::{Deleted, Stat, State, Time};

pub use mount_tree::beside;
pub use pattern::Pattern;
pub use record::{Attributes, Bytes, Lost, Record, kind};

/// Which deleted files are wanted.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Those with such a path; without any, all paths.
    pub patterns: Vec<Pattern>,
    /// Those that were deleted at this time or later.
    pub after: Option<Time>,
    /// Those that were deleted before this time.
    pub before: Option<Time>,
    /// Those of so many bytes.
    pub sizes: RangeInclusive<u64>,
    /// Those in one of these states; without any, in any state.
    pub states: Vec<State>,
    /// Earlier versions too.
    pub versions: bool,
}

impl Default for Filter {
    fn default() -> Self {
        Self { patterns: vec![], after: None, before: None, sizes: 0..=u64::MAX, states: vec![], versions: false }
    }
}

impl Filter {
    /// Whether a path, without a slash at its start, is one of those.
    pub fn wants_path(&self, path: &[u8]) -> bool {
        self.patterns.is_empty() || self.patterns.iter().any(|pattern| pattern.matches(path))
    }

    /// Whether this file is one of them. Without its attributes it has no size, and without a time it was deleted at
    /// no known time.
    pub fn wants(&self, found: &Found<'_>, path: &[u8], stat: Option<&Stat>) -> bool {
        (self.versions || found.deleted.version == 0) && self.wants_path(path) && self.wants_state(found.deleted, stat)
    }

    /// The same without regard to its path, and to which of its versions it is.
    pub fn wants_state(&self, deleted: &Deleted, stat: Option<&Stat>) -> bool {
        let size = stat.map_or(0, |stat| stat.size);
        let timed = |holds: fn(&Time, &Time) -> bool, limit: &Option<Time>| match limit {
            Some(limit) => deleted.deleted.is_some_and(|time| holds(&time, limit)),
            None => true,
        };
        timed(|time, after| time >= after, &self.after)
            && timed(|time, before| time < before, &self.before)
            && self.sizes.contains(&size)
            && (self.states.is_empty() || self.states.contains(&deleted.state))
    }
}
