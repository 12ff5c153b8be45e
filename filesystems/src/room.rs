//! The memory of one search for deleted files, and what no longer fits into it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use images::{Budget, Reservation, Result};

/// What one search may hold: a part of what its budget has free. A clone is the same room.
///
/// What does not fit is left out, and the room remembers that something was.
#[derive(Clone)]
pub(crate) struct Room(Rc<Inner>);

struct Inner {
    budget: Budget,
    held: RefCell<Reservation>,
    most: u64,
    full: Cell<bool>,
}

impl Room {
    /// At most `part` of 12 parts of what is free.
    pub(crate) fn of(budget: &Budget, part: u64) -> Self {
        let most = budget.free() / 12 * part;
        let held = RefCell::new(budget.empty());
        Self(Rc::new(Inner { budget: budget.clone(), held, most, full: Cell::new(false) }))
    }

    /// Takes `bytes`, if there is room for them: a quarter is left for what is needed.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        self.take_of(bytes, self.0.most / 4 * 3)
    }

    fn take_of(&self, bytes: usize, most: u64) -> bool {
        let mut held = self.0.held.borrow_mut();
        let fits = held.bytes().saturating_add(bytes as u64) <= most && held.try_grow(bytes as u64);
        self.0.full.set(self.0.full.get() || !fits);
        fits
    }

    /// The same for what a search cannot do without: fails with `Memory`, which names it.
    pub(crate) fn need(&self, bytes: usize, what: &str) -> Result<()> {
        if self.take_of(bytes, self.0.most) {
            return Ok(());
        }
        let (held, most) = (self.0.held.borrow().bytes(), self.0.most);
        Err(images::Error::Memory(format!(
            "{what} would take more than the {} bytes that are left of {most} for a search for deleted files; --memory \
             gives the program more",
            most.saturating_sub(held)
        )))
    }

    /// Whether something did not fit.
    pub(crate) fn is_full(&self) -> bool {
        self.0.full.get()
    }

    /// What was taken, for who keeps what was found.
    pub(crate) fn into_held(self) -> Reservation {
        self.0.held.replace(self.0.budget.empty())
    }
}
