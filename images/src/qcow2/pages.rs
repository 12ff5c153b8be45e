//! The tables of an image file in pages: as they lie in the file, or as they were changed since.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use crate::disk::{Cached, Page};
use crate::{Disk, DiskMut, Result, Writer, corrupt};

/// How many pages that follow each other are written at once, at most; ours.
const BATCH: usize = 256;

/// What a table is for: it says in which order changes become durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Blocks of refcounts.
    Refcounts,
    /// L1 and L2 tables.
    Mapping,
}

/// Pages of tables, across which no entry lies.
pub struct Pages {
    file: Cached,
    /// By their offset in the file. There is none before something was changed, so that who only reads takes no lock.
    changed: OnceLock<RwLock<HashMap<u64, (Kind, Page)>>>,
}

impl Pages {
    /// Those of this file.
    pub fn new(file: Cached) -> Self {
        Self { file, changed: OnceLock::new() }
    }

    /// The file, as it is without what was changed.
    pub fn file(&self) -> &Cached {
        &self.file
    }

    /// The size of the file in bytes.
    pub fn size(&self) -> u64 {
        self.file.size()
    }

    /// The size of a page in bytes.
    pub fn page_size(&self) -> u64 {
        self.file.page_size() as u64
    }

    /// The writer of the whole file, whose changes are seen here.
    pub fn writer(&self) -> Result<Writer> {
        self.file.writer(0..self.file.size())
    }

    /// The page with the byte `at`; it must lie inside the file.
    pub fn page_at(&self, at: u64) -> Result<Page> {
        if let Some(changed) = self.changed.get() {
            let start = at - at % self.page_size();
            if let Some((_, page)) = changed.read().unwrap_or_else(PoisonError::into_inner).get(&start) {
                return Ok(page.clone());
            }
        }
        self.file.page_at(at)
    }

    /// How many pages were changed and are not in the file.
    pub fn changed(&self) -> usize {
        self.changed.get().map_or(0, |changed| changed.read().unwrap_or_else(PoisonError::into_inner).len())
    }

    /// Whether there are such pages of this kind.
    pub fn has_changed(&self, kind: Kind) -> bool {
        let Some(changed) = self.changed.get() else { return false };
        changed.read().unwrap_or_else(PoisonError::into_inner).values().any(|(of, _)| *of == kind)
    }

    /// Changes the page with the byte `at`, in memory: `change` gets what begins there. Called by one thread at a time.
    pub fn change(&self, kind: Kind, at: u64, change: impl FnOnce(&mut [u8])) -> Result<()> {
        let inside = at % self.page_size();
        let start = at - inside;
        let changed = self.changed.get_or_init(RwLock::default);
        let known = changed.read().unwrap_or_else(PoisonError::into_inner).contains_key(&start);
        let read = if known { None } else { Some(self.file.page_at(at)?) };
        let mut changed = changed.write().unwrap_or_else(PoisonError::into_inner);
        let (of, page) = changed.entry(start).or_insert_with(|| (kind, read.unwrap_or_default()));
        if *of != kind {
            return Err(corrupt!("table", at, "the same cluster holds refcounts and maps the disk"));
        }
        // At most a page.
        let inside = inside as usize;
        if inside >= page.len() {
            return Err(corrupt!("table", at, "lies past the end of the file: truncated?"));
        }
        change(&mut Arc::make_mut(page)[inside..]);
        Ok(())
    }

    /// Writes the changed pages of this kind to the file. Called by one thread at a time.
    pub fn write_out(&self, kind: Kind, file: &dyn DiskMut) -> Result<()> {
        let Some(changed) = self.changed.get() else { return Ok(()) };
        let mut pages: Vec<(u64, Page)> = {
            let changed = changed.read().unwrap_or_else(PoisonError::into_inner);
            changed.iter().filter(|(_, (of, _))| *of == kind).map(|(at, (_, page))| (*at, page.clone())).collect()
        };
        pages.sort_unstable_by_key(|(at, _)| *at);
        for run in pages.chunk_by(|(at, page), (next, _)| at + page.len() as u64 == *next) {
            for batch in run.chunks(BATCH) {
                match batch {
                    [(at, page)] => file.write_at(page, *at)?,
                    [(at, _), ..] => {
                        file.write_at(
                            &batch.iter().flat_map(|(_, page)| page.iter().copied()).collect::<Vec<_>>(),
                            *at,
                        )?;
                    }
                    [] => {}
                }
            }
        }
        // Until now readers found them here.
        let mut changed = changed.write().unwrap_or_else(PoisonError::into_inner);
        pages.iter().for_each(|(at, _)| drop(changed.remove(at)));
        Ok(())
    }
}
