//! What one run may cost: memory at its peak, and bytes read from the images, in proportion to what these hold.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::allocator;

/// What a run may hold whatever its images hold, in bytes: caches that are made at their full size, the windows of
/// decoders.
const MEMORY: u64 = 32 << 20;
/// What it may hold for each byte of its images.
const MEMORY_PER_BYTE: u64 = 16;
/// What a run may read whatever its images hold, in bytes: [`exercise`](crate::exercise) reads this much of what looks
/// large.
const READ: u64 = 64 << 20;
/// How often it may read each byte of its images.
const READ_PER_BYTE: u64 = 64;

static STORED: AtomicU64 = AtomicU64::new(0);
static READ_BYTES: AtomicU64 = AtomicU64::new(0);
static LARGEST: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// Runs one input, and panics if it costs more than it may. A new most of what was held or read is printed.
pub fn bounded(run: impl FnOnce()) {
    STORED.store(0, Ordering::Relaxed);
    READ_BYTES.store(0, Ordering::Relaxed);
    let before = allocator::start(MEMORY as usize);
    run();
    let peak = allocator::end(before) as u64;
    let (stored, read) = (STORED.load(Ordering::Relaxed), READ_BYTES.load(Ordering::Relaxed));
    for (name, value, largest) in [("held", peak, &LARGEST[0]), ("read", read, &LARGEST[1])] {
        if value > largest.load(Ordering::Relaxed) / 4 * 5 + (64 << 10) {
            largest.store(value, Ordering::Relaxed);
            eprintln!("{name}: {} KiB, of images that hold {} KiB", value >> 10, stored >> 10);
        }
    }
    assert!(read <= READ + READ_PER_BYTE * stored, "{read} bytes were read of images that hold {stored}");
}

/// Counts an image of this many bytes.
pub fn stored(bytes: u64) {
    STORED.fetch_add(bytes, Ordering::Relaxed);
    allocator::allow((MEMORY_PER_BYTE * bytes) as usize);
}

/// Allows bytes that this run takes and all further ones keep.
pub fn kept(bytes: usize) {
    allocator::allow(bytes);
}

/// Counts bytes that were read.
pub fn read(bytes: u64) {
    READ_BYTES.fetch_add(bytes, Ordering::Relaxed);
}
