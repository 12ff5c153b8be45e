//! Files with holes: where their data is, and whether two of them are the same.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{SeekFrom, seek};

use super::tool;

/// The runs of data of a file: start and end in bytes.
pub fn runs(path: &Path) -> Vec<(u64, u64)> {
    let file = File::open(path).unwrap();
    let (mut runs, mut at) = (Vec::new(), 0);
    while let Ok(start) = seek(&file, SeekFrom::Data(at)) {
        at = seek(&file, SeekFrom::Hole(start)).unwrap();
        runs.push((start, at));
    }
    runs
}

/// Every byte equal, and what one file says is a hole reads as zeros in the other.
#[track_caller]
pub fn assert_same(one: &Path, other: &Path) {
    tool(&["cmp", one.to_str().unwrap(), other.to_str().unwrap()]);
    let (file, size) = (File::open(other).unwrap(), fs::metadata(one).unwrap().len());
    let mut end = 0;
    for (start, next) in runs(one).into_iter().chain([(size, size)]) {
        let mut bytes = vec![1; (start - end) as usize];
        file.read_exact_at(&mut bytes, end).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 0), "{}: data at {end}..{start}", one.display());
        end = next;
    }
}
