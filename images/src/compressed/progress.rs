//! How far long work is: a program that has a terminal shows it there.

use std::sync::{PoisonError, RwLock};

/// How far a file is decompressed.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The name of the file.
    pub file: &'a str,
    /// How much of it is done, in bytes of the file; as much as `size` if the work has ended, for good or for now.
    pub done: u64,
    /// How long the file is, in bytes.
    pub size: u64,
}

static WATCHER: RwLock<Option<fn(Progress<'_>)>> = RwLock::new(None);

/// From now on `watcher` is told how far each decompression is, once for about every MiB of content and at its end;
/// several threads may call it. `None` ends that.
pub fn watch(watcher: Option<fn(Progress<'_>)>) {
    *WATCHER.write().unwrap_or_else(PoisonError::into_inner) = watcher;
}

pub(super) fn report(progress: Progress<'_>) {
    let watcher = *WATCHER.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(watcher) = watcher {
        watcher(progress);
    }
}
