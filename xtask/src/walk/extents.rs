//! SEEK_DATA and SEEK_HOLE over a file: the data that they find, and proof that holes are zeros.

use std::fs::File;
use std::path::Path;

use anyhow::{Result, bail, ensure};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// More data runs than any test file has; a front that goes in circles is found by it.
const RUNS_MAX: usize = 1 << 20;

/// The runs of data of a file, sorted.
pub fn of(file: &File, path: &Path, size: u64) -> Result<Vec<(u64, u64)>> {
    let mut runs = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => size,
            Err(error) => bail!("{}: SEEK_DATA at {at}: {error}", path.display()),
        };
        ensure!(start >= at && start <= size, "{}: SEEK_DATA at {at} gives {start}", path.display());
        if start == size {
            break;
        }
        let end = seek(file, SeekFrom::Hole(start))?;
        ensure!(end > start && end <= size, "{}: SEEK_HOLE at {start} gives {end} of {size}", path.display());
        runs.push((start, end));
        ensure!(runs.len() <= RUNS_MAX, "{}: more than {RUNS_MAX} runs of data", path.display());
        at = end;
    }
    let past = seek(file, SeekFrom::Data(size));
    ensure!(past == Err(Errno::NXIO), "{}: SEEK_DATA at the end gives {past:?}, want ENXIO", path.display());
    seek(file, SeekFrom::Start(0))?;
    Ok(runs)
}

/// Checks that bytes read from `at` on are zeros where the sorted `runs` have no data.
pub fn check_holes(runs: &[(u64, u64)], path: &Path, at: u64, bytes: &[u8]) -> Result<()> {
    let end = at + bytes.len() as u64;
    let mut from = at;
    let next = runs.partition_point(|(_, to)| *to <= at);
    for (start, to) in runs[next..].iter().copied().take_while(|(start, _)| *start < end).chain([(end, end)]) {
        if start > from {
            let hole = &bytes[usize::try_from(from - at)?..usize::try_from(start - at)?];
            if let Some(index) = hole.iter().position(|byte| *byte != 0) {
                bail!("{}: byte {} lies in a hole and is not zero", path.display(), from + index as u64);
            }
        }
        from = to.min(end);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn data_between_holes() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        file.write_all_at(&[1; 4096], 512 << 10).unwrap();
        let runs = of(&file, Path::new("sparse"), 1 << 20).unwrap();
        assert_eq!(runs, [(512 << 10, (512 << 10) + 4096)]);
    }
    #[test]
    fn holes_are_zeros() {
        let check = |at, bytes: &[u8]| check_holes(&[(2, 4), (8, 10)], Path::new("sparse"), at, bytes);
        check(0, &[0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 0]).unwrap();
        check(3, &[1, 0, 0, 0, 0, 1]).unwrap();
        assert!(check(0, &[0, 1, 1]).is_err());
        assert!(check(3, &[1, 1]).is_err());
        assert!(check(9, &[1, 1]).is_err());
        check(20, &[0; 5]).unwrap();
    }
}
