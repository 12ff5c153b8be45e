//! What a disk must hold, read in every way.

use std::sync::Arc;
use std::thread;

use images::Disk;

use super::{Random, read, read_all};

/// Reads in every way that `disk` should survive: whole, in random pieces, from several threads.
pub fn check(disk: &Arc<dyn Disk>, want: &[u8]) {
    assert_eq!(disk.size(), want.len() as u64);
    assert!(read_all(&**disk) == want, "{disk}: whole");
    thread::scope(|scope| {
        for seed in 1..=3 {
            scope.spawn(move || {
                let mut random = Random(seed);
                for _ in 0..200 {
                    let start = random.below(want.len() as u64);
                    let most = if random.below(10) == 0 { 2 << 20 } else { 9000 };
                    let len = random.below(most).min(want.len() as u64 - start) as usize;
                    assert!(read(&**disk, start, len) == want[start as usize..][..len], "{disk}: {len} at {start:#x}");
                }
            });
        }
    });
    let mut byte = [0];
    assert!(disk.read_at(&mut byte, disk.size()).is_err());
    assert!(disk.read_at(&mut byte, u64::MAX).is_err());
    assert!(disk.extent_at(disk.size()).is_err());
    disk.read_at(&mut [], disk.size()).unwrap();
}
