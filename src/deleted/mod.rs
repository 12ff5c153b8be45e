//! What was deleted from the file systems in the images: where to look, what is wanted, and how it is written down.

mod mount_tree;
mod pattern;
mod record;

use std::sync::Arc;

use filesystems::view::{DeletedFiles, Found};
use filesystems::{FileSystem, Stat, State, Time};
use images::{Budget, Error, Reservation, Result};

pub use mount_tree::beside;
pub use pattern::Pattern;
pub use record::{Attributes, Bytes, Lost, Record, kind};

use crate::cli::{Filters, Selection};
use crate::stack::{Contents, Stack};

/// What an open file system and the search in it take whatever they hold, in bytes: measured, of small ones.
const OPEN: u64 = 128 << 10;

/// A file system in the images, and what was deleted from it.
pub struct Source {
    /// The device: `/dev/sda1`.
    pub device: String,
    /// The device as a relative path: `sda1`, `group/volume`.
    pub name: String,
    /// The size of the device in bytes.
    pub size: u64,
    /// The deleted files.
    pub files: Arc<DeletedFiles>,
    /// What may be held of what is found there.
    pub budget: Budget,
    _held: Reservation,
}

impl Source {
    /// The file system on this device of the stack.
    pub fn open(stack: &Stack, at: usize) -> Result<Self> {
        let device = &stack.devices[at];
        let budget = stack.options().budget.clone();
        // Taken first: of thousands each is small, and all together are not.
        let held = budget.take(OPEN, format_args!("the file system on {}", device.name))?;
        Ok(Self { _held: held, ..Self::of(&device.name, device.size, stack.open(at)?, budget) })
    }

    /// A file system on a device of this name and size in bytes.
    pub fn of(device: &str, size: u64, fs: Arc<dyn FileSystem>, budget: Budget) -> Self {
        let name = device.strip_prefix("/dev/").unwrap_or(device).to_owned();
        let files = Arc::new(DeletedFiles::new(fs, device, budget.clone()));
        Self { device: device.to_owned(), name, size, files, _held: budget.empty(), budget }
    }

    /// Every file system in the images that can be opened; of the others only those are told of that should be
    /// readable.
    pub fn all(stack: &Stack) -> Vec<Self> {
        let known = stack.file_systems().filter(|&at| matches!(stack.devices[at].contents, Contents::Known(..)));
        let mut all = Vec::new();
        for at in known {
            match Self::open(stack, at) {
                Ok(source) => all.push(source),
                Err(error) if matches!(error.root(), Error::Unsupported(_)) => log::info!("passed over: {error}"),
                Err(error @ Error::Memory(_)) => {
                    log::warn!("passed over, with all that follow: {error}; -m chooses one");
                    break;
                }
                Err(error) => log::warn!("passed over: {error}"),
            }
        }
        all
    }

    /// The file systems that a command line asks for. Fails if there is none.
    pub fn selected(stack: &Stack, selection: &Selection) -> Result<Vec<Self>> {
        if selection.mount.is_empty() {
            let all = Self::all(stack);
            return if all.is_empty() { Err(stack.no_file_system()) } else { Ok(all) };
        }
        let mut devices = Vec::new();
        for name in &selection.mount {
            let at = stack.expect(name)?;
            if !devices.contains(&at) {
                devices.push(at);
            }
        }
        devices.into_iter().map(|at| Self::open(stack, at)).collect()
    }
}

/// Which deleted files are wanted.
#[derive(Debug, Default)]
pub struct Filter {
    patterns: Vec<Pattern>,
    after: Option<Time>,
    before: Option<Time>,
    sizes: (u64, u64),
    states: Vec<State>,
    versions: bool,
}

impl Filter {
    /// What the options ask for.
    pub fn new(filters: &Filters) -> Self {
        Self {
            patterns: filters.patterns.iter().map(|text| Pattern::new(text)).collect(),
            after: filters.deleted_after,
            before: filters.deleted_before,
            sizes: (filters.min_size.unwrap_or(0), filters.max_size.unwrap_or(u64::MAX)),
            states: filters.state.clone(),
            versions: filters.versions,
        }
    }

    /// Whether this file is one of them. Without its attributes it has no size, and without a time it was deleted at
    /// no known time.
    pub fn wants(&self, found: &Found<'_>, path: &[u8], stat: Option<&Stat>) -> bool {
        let deleted = found.deleted;
        let size = stat.map_or(0, |stat| stat.size);
        let timed = |holds: fn(&Time, &Time) -> bool, limit: &Option<Time>| match limit {
            Some(limit) => deleted.deleted.is_some_and(|time| holds(&time, limit)),
            None => true,
        };
        (self.versions || deleted.version == 0)
            && timed(|time, after| time >= after, &self.after)
            && timed(|time, before| time < before, &self.before)
            && (self.sizes.0..=self.sizes.1).contains(&size)
            && (self.states.is_empty() || self.states.contains(&deleted.state))
            && (self.patterns.is_empty() || self.patterns.iter().any(|pattern| pattern.matches(path)))
    }
}
