//! Who decompresses: all threads that want to, as long as the budget has room for their decoders, else one at a time.
//!
//! A decoder has a dictionary or window of hundreds of MiB, if its file says so. Those that nobody uses now are ended in
//! favour of others, the one that was used longest ago first. Where that is not enough, because other threads use
//! theirs, a thread waits until it is alone and tries once more: what then fails does not fit into the budget at all.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, Weak};

use crate::{Budget, Error, Reservation, Result};

/// How many decoders of large parts one file keeps.
const MAX_DECODERS: usize = 2;

/// A part of a file that may have a decoder.
pub trait Part: Send + Sync {
    /// Ends its decoder, unless somebody uses it now.
    fn end(&self);
}

/// The decoders of all compressed files under one budget.
#[derive(Default)]
pub struct Turns {
    /// Held for reading by all who decompress, for writing by the one who wants to be alone.
    turn: RwLock<()>,
    /// The parts that have decoders, and the numbers of their files; the one that was used last is at the end.
    kept: Mutex<VecDeque<(u64, Weak<dyn Part>)>>,
}

thread_local! {
    /// Whether this thread has a turn: a file may lie in another compressed one.
    static HAS_TURN: Cell<bool> = const { Cell::new(false) };
}

struct Turn;

impl Turn {
    fn begin() -> Self {
        HAS_TURN.set(true);
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        HAS_TURN.set(false);
    }
}

impl Turns {
    /// Does `work`, which decompresses; a second time if memory was short because others had it.
    ///
    /// The caller holds no lock that other decompressing work waits for.
    pub fn run<T>(&self, mut work: impl FnMut() -> Result<T>) -> Result<T> {
        if HAS_TURN.get() {
            return work();
        }
        let _turn = Turn::begin();
        {
            let _others = self.turn.read().unwrap_or_else(PoisonError::into_inner);
            match work() {
                Err(error) if matches!(error.root(), Error::Memory(_)) => {}
                done => return done,
            }
        }
        let _alone = self.turn.write().unwrap_or_else(PoisonError::into_inner);
        work()
    }

    /// Notes that `part` of file `number` was used last, and whether it keeps a decoder.
    pub fn note(&self, number: u64, part: Weak<dyn Part>, keeps: bool) {
        let mut kept = self.kept();
        kept.retain(|(_, other)| !Weak::ptr_eq(other, &part) && other.strong_count() > 0);
        if keeps {
            kept.push_back((number, part));
        }
        let mut of_file = kept.iter().enumerate().filter(|(_, (other, _))| *other == number).map(|(at, _)| at);
        let oldest = of_file.next().filter(|_| of_file.count() >= MAX_DECODERS);
        let oldest = oldest.and_then(|at| kept.remove(at));
        drop(kept);
        end(oldest);
    }

    /// Ends the decoder that was used longest ago, if one is left.
    fn end_oldest(&self) -> bool {
        let oldest = self.kept().pop_front();
        let found = oldest.is_some();
        end(oldest);
        found
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<(u64, Weak<dyn Part>)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that is at work comes back to the list when it is done.
fn end(part: Option<(u64, Weak<dyn Part>)>) {
    if let Some(part) = part.and_then(|(_, part)| part.upgrade()) {
        part.end();
    }
}

impl Budget {
    /// Makes the `memory` of a decoder, which `what` names, `more` bytes larger. Decoders that nobody uses make room.
    pub(super) fn grow_decoder(&self, memory: &mut Reservation, more: u64, what: &str) -> Result<()> {
        let turns = self.turns();
        while !memory.try_grow(more) {
            if !turns.end_oldest() {
                return memory.grow(more, what);
            }
        }
        Ok(())
    }

    /// The memory of a decoder, which `what` names: `bytes`.
    pub(super) fn take_decoder(&self, bytes: u64, what: &str) -> Result<Reservation> {
        let mut memory = self.empty();
        self.grow_decoder(&mut memory, bytes, what)?;
        Ok(memory)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    struct Fake(Mutex<Option<Reservation>>);

    impl Part for Fake {
        fn end(&self) {
            if let Ok(mut memory) = self.0.try_lock() {
                *memory = None;
            }
        }
    }

    fn fake(budget: &Budget, number: u64) -> Arc<Fake> {
        let part = Arc::new(Fake(Mutex::new(Some(budget.take_decoder(40, "one").unwrap()))));
        let weak: Weak<Fake> = Arc::downgrade(&part);
        budget.turns().note(number, weak, true);
        part
    }

    #[test]
    fn those_that_nobody_uses_make_room() {
        let budget = Budget::new(100);
        let parts: Vec<_> = (0..4).map(|number| fake(&budget, number)).collect();
        let kept = || parts.iter().map(|part| part.0.lock().unwrap().is_some()).collect::<Vec<_>>();
        assert_eq!(kept(), [false, false, true, true]);
        let in_use = parts[2].0.lock().unwrap();
        assert!(budget.take_decoder(70, "much").is_err());
        drop(in_use);
        assert_eq!(kept(), [false, false, true, false], "one that is in use stays");
    }

    #[test]
    fn a_file_keeps_two() {
        let budget = Budget::new(1000);
        let parts: Vec<_> = (0..4).map(|_| fake(&budget, 1)).collect();
        let other = fake(&budget, 2);
        let kept = parts.iter().map(|part| part.0.lock().unwrap().is_some()).collect::<Vec<_>>();
        assert_eq!(kept, [false, false, true, true]);
        assert!(other.0.lock().unwrap().is_some());
    }

    #[test]
    fn threads_that_want_more_than_there_is_take_turns() {
        let budget = Budget::new(100);
        std::thread::scope(|scope| {
            for thread in 0..8u64 {
                let budget = &budget;
                scope.spawn(move || {
                    for _ in 0..200 {
                        // What lies in each other needs both at once.
                        budget
                            .turns()
                            .run(|| {
                                let _outer = budget.take_decoder(30 + thread, "outer")?;
                                budget.turns().run(|| budget.take_decoder(60, "inner").map(drop))
                            })
                            .unwrap();
                    }
                });
            }
        });
        assert_eq!(budget.free(), 100);
    }
}
