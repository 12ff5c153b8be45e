//! An allocator that ends the process when an input makes it take too much, so that the fuzzer keeps that input.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that may be allocated at a time: the seeds, the fuzzer's corpus and all that the readers' own bounds allow.
const MOST: usize = 320 << 20;

struct Bounded {
    live: AtomicUsize,
}

#[global_allocator]
static BOUNDED: Bounded = Bounded { live: AtomicUsize::new(0) };

impl Bounded {
    fn take(&self, size: usize) {
        if self.live.fetch_add(size, Ordering::Relaxed).saturating_add(size) > MOST {
            // So that the report itself can be written.
            self.live.store(0, Ordering::Relaxed);
            panic!("an allocation of {size} bytes exceeds the bound of {MOST} bytes in all");
        }
    }
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.take(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.take(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        let _ = self
            .live
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |live| Some(live.saturating_sub(layout.size())));
        unsafe { System.dealloc(at, layout) }
    }
}
