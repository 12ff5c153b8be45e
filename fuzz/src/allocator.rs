//! An allocator that knows how much is held, and ends the process when one run takes too much, so that the fuzzer keeps
//! that input.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counted {
    held: AtomicUsize,
    peak: AtomicUsize,
    most: AtomicUsize,
}

#[global_allocator]
static COUNTED: Counted =
    Counted { held: AtomicUsize::new(0), peak: AtomicUsize::new(0), most: AtomicUsize::new(usize::MAX) };

/// Counts the peak anew, and allows `most` bytes beside those that are held now, whose number is the value.
pub fn start(most: usize) -> usize {
    let held = COUNTED.held.load(Ordering::Relaxed);
    COUNTED.peak.store(held, Ordering::Relaxed);
    COUNTED.most.store(held.saturating_add(most), Ordering::Relaxed);
    held
}

/// Allows `more` bytes beside those that were allowed.
pub fn allow(more: usize) {
    let add = |most: usize| Some(most.saturating_add(more));
    let _ = COUNTED.most.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
}

/// Lifts the bound. The value is what was held at most since [`start`] beside the `before` bytes that it gave.
pub fn end(before: usize) -> usize {
    COUNTED.most.store(usize::MAX, Ordering::Relaxed);
    COUNTED.peak.load(Ordering::Relaxed).saturating_sub(before)
}

impl Counted {
    fn take(&self, size: usize) {
        let held = self.held.fetch_add(size, Ordering::Relaxed).saturating_add(size);
        self.peak.fetch_max(held, Ordering::Relaxed);
        if held > self.most.load(Ordering::Relaxed) {
            // So that the report itself can be written.
            self.most.store(usize::MAX, Ordering::Relaxed);
            panic!("an allocation of {size} bytes makes more than this run may hold");
        }
    }
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.take(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.take(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        self.held.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(at, layout) }
    }
}
