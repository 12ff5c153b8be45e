//! SEEK_DATA and SEEK_HOLE over a file: the data that they find, with proof that holes are zeros.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Result, bail, ensure};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// More data runs than any test file has; a front that goes in circles is found by it.
const RUNS_MAX: usize = 1 << 20;

/// The runs of data of a file; every hole between them has been read and is zeros.
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
        zeros(file, path, at, start)?;
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

fn zeros(file: &File, path: &Path, from: u64, to: u64) -> Result<()> {
    let mut buffer = vec![0; 256 << 10];
    let mut at = from;
    while at < to {
        let length = usize::try_from(to - at).unwrap_or(usize::MAX).min(buffer.len());
        file.read_exact_at(&mut buffer[..length], at)?;
        if let Some(index) = buffer[..length].iter().position(|byte| *byte != 0) {
            bail!("{}: byte {} is not zero and lies in the hole {from}..{to}", path.display(), at + index as u64);
        }
        at += length as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_between_holes() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        file.write_all_at(&[1; 4096], 512 << 10).unwrap();
        let runs = of(&file, Path::new("sparse"), 1 << 20).unwrap();
        assert_eq!(runs, [(512 << 10, (512 << 10) + 4096)]);
    }
}
