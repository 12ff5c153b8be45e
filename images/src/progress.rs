//! How far long work is: a program that has a terminal shows it there.

use std::sync::{PoisonError, RwLock};

/// How far work on a file is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// What is done with it: `decompressing`.
    pub what: &'a str,
    /// The name of the file.
    pub file: &'a str,
    /// How much of it is done, in bytes of the file; as much as `size` if the work has ended, for good or for now.
    pub done: u64,
    /// How long the file is, in bytes. 1 for work that does not say how far it is until it has ended.
    pub size: u64,
    /// Why that takes long; empty if it is because of the size.
    pub detail: &'a str,
}

static WATCHER: RwLock<Option<fn(Progress<'_>)>> = RwLock::new(None);

/// From now on `watcher` is told how far each decompression is, once for about every MiB of content and at its end, and
/// when a long key derivation begins and ends; several threads may call it. `None` ends that.
pub fn watch(watcher: Option<fn(Progress<'_>)>) {
    *WATCHER.write().unwrap_or_else(PoisonError::into_inner) = watcher;
}

pub(crate) fn report(progress: Progress<'_>) {
    let watcher = *WATCHER.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(watcher) = watcher {
        watcher(progress);
    }
}
