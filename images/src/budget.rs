//! The memory that images can make the program hold: one budget, handed down to everything that keeps something.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt::{self, Display};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::{Error, Result, unsupported};

/// What the program may hold unless the user says otherwise, in bytes; ours.
pub const DEFAULT: u64 = 256 << 20;
/// How many files all images of the program may consist of together; ours. The formats allow more in a single one, and
/// each may name the others once more.
const MAX_FILES: u64 = 1 << 16;

/// The bytes that all images of the program together may make it hold: caches, tables, decoders, listings.
///
/// A clone is the same budget. With it goes what follows from it: the caches that all images share, and the
/// [`Storage`](crate::Storage) for what is decompressed. What is small whatever an image says (a superblock, a node) is not counted.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Pool>);

struct Pool {
    limit: u64,
    held: AtomicU64,
    /// How many files were opened.
    files: AtomicU64,
    /// One of each type. What they keep was taken for good: a reservation would hold the budget that holds it.
    shared: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes", self.held.load(Ordering::Relaxed), self.limit)
    }
}

/// A part of a [`Budget`], which goes back to it when this is dropped. What is counted should own it.
#[derive(Debug)]
pub struct Reservation {
    budget: Budget,
    bytes: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(DEFAULT)
    }
}

impl Budget {
    /// A budget of `limit` bytes, and the default [`Storage`](crate::Storage).
    pub fn new(limit: u64) -> Self {
        let (held, files) = (AtomicU64::new(0), AtomicU64::new(0));
        Self(Arc::new(Pool { limit, held, files, shared: Mutex::default() }))
    }

    /// What all that is opened under this budget shares: one of each type, made when somebody first asks for it.
    pub(crate) fn shared<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let mut shared = self.0.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let one = shared.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(make())).clone();
        one.downcast().expect("it is kept under its own type")
    }

    /// A share as [`Self::share`] has it, which never goes back: for the caches. Its size.
    pub(crate) fn share_for_good(&self, wanted: u64) -> u64 {
        std::mem::take(&mut self.share(wanted).bytes)
    }

    /// Notes that an image names one more file, which is to be opened. Fails if that are too many.
    pub(crate) fn count_file(&self) -> Result<()> {
        match self.0.files.fetch_add(1, Ordering::Relaxed) < MAX_FILES {
            true => Ok(()),
            false => Err(unsupported!("the images name more than {MAX_FILES} files, some perhaps many times")),
        }
    }

    /// All of it, in bytes.
    pub fn limit(&self) -> u64 {
        self.0.limit
    }

    /// What is not taken at the moment, in bytes.
    pub fn free(&self) -> u64 {
        self.0.limit.saturating_sub(self.0.held.load(Ordering::Relaxed))
    }

    /// Takes `bytes`. Fails with `Memory`, which names `what` wants them, if not all of them are left.
    pub fn take(&self, bytes: u64, what: impl Display) -> Result<Reservation> {
        let mut taken = self.empty();
        taken.grow(bytes, what)?;
        Ok(taken)
    }

    /// Takes `bytes`, if all of them are left: for what has another way.
    pub fn try_take(&self, bytes: u64) -> Option<Reservation> {
        let mut taken = self.empty();
        taken.try_grow(bytes).then_some(taken)
    }

    /// Takes `wanted` bytes, or half of what is left if that is less: for caches, which work with any size.
    pub fn share(&self, wanted: u64) -> Reservation {
        let mut taken = self.empty();
        // Another thread may take some between; then there is little left, and nothing is a size, too.
        if !taken.try_grow(wanted.min(self.free() / 2)) {
            taken.try_grow(self.free() / 2);
        }
        taken
    }

    /// A reservation of nothing, to grow.
    pub fn empty(&self) -> Reservation {
        Reservation { budget: self.clone(), bytes: 0 }
    }
}

impl Reservation {
    /// How much it is, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes `more` bytes. Fails as [`Budget::take`] does, and then holds what it held.
    pub fn grow(&mut self, more: u64, what: impl Display) -> Result<()> {
        if self.try_grow(more) {
            return Ok(());
        }
        let (limit, free) = (self.budget.limit(), self.budget.free());
        Err(Error::Memory(format!(
            "{what} would take {more} bytes, {free} of {limit} are left; --memory gives the program more"
        )))
    }

    /// Takes `more` bytes, if all of them are left.
    pub fn try_grow(&mut self, more: u64) -> bool {
        let Pool { limit, held, .. } = &*self.budget.0;
        let add = |held: u64| held.checked_add(more).filter(|sum| sum <= limit);
        let taken = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok();
        self.bytes += if taken { more } else { 0 };
        taken
    }

    /// Gives `less` bytes back, or all that there is.
    pub fn shrink(&mut self, less: u64) {
        let less = less.min(self.bytes);
        self.bytes -= less;
        self.budget.0.held.fetch_sub(less, Ordering::Relaxed);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_goes_back() {
        let budget = Budget::new(100);
        let mut first = budget.clone().take(60, "a table").unwrap();
        assert_eq!((budget.free(), budget.limit()), (40, 100));
        let error = budget.take(41, "a list").unwrap_err().to_string();
        assert_eq!(error, "a list would take 41 bytes, 40 of 100 are left; --memory gives the program more");
        assert!(budget.try_take(u64::MAX).is_none(), "no overflow");
        first.grow(40, "it").unwrap();
        assert!(!first.try_grow(1));
        first.shrink(70);
        assert_eq!((first.bytes(), budget.free()), (30, 70));
        drop(first);
        assert_eq!(budget.free(), 100);
    }

    #[test]
    fn files_are_counted() {
        let budget = Budget::new(0);
        for _ in 0..MAX_FILES {
            budget.count_file().unwrap();
        }
        assert!(budget.count_file().is_err());
    }

    #[test]
    fn caches_take_what_is_left() {
        let budget = Budget::new(100);
        let first = budget.share(20);
        let second = budget.share(1000);
        assert_eq!((first.bytes(), second.bytes(), budget.free()), (20, 40, 40));
        drop((first, second));
        assert_eq!((budget.share_for_good(20), budget.free()), (20, 80));
    }
}
