//! Who holds a lock: found in `/proc`, as far as this user may look there.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::disk::printable;

/// How many processes are named at most; ours.
const MOST: usize = 4;

/// The processes that hold a lock of an open file description at `byte` of `file`, each by name and number. Locks of that
/// kind have no owner of their own, but the kernel shows them with the open files of each process.
pub fn holders(file: &File, byte: i64) -> Vec<String> {
    let (Ok(inode), Ok(processes)) = (file.metadata().map(|metadata| metadata.ino()), fs::read_dir("/proc")) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for process in processes.flatten() {
        let name = process.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if holds(&process.path(), inode, byte) {
            let command = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            found.push(format!("{} (process {id})", printable(Path::new(command.trim_end()))));
            if found.len() == MOST {
                break;
            }
        }
    }
    found
}

/// Whether one of the open files of a process is that inode, with a lock at `byte`.
fn holds(process: &Path, inode: u64, byte: i64) -> bool {
    let Ok(files) = fs::read_dir(process.join("fdinfo")) else { return false };
    files.flatten().any(|file| {
        let text = fs::read_to_string(file.path()).unwrap_or_default();
        text.lines().filter(|line| line.starts_with("lock:")).any(|line| is_lock(line, inode, byte))
    })
}

/// Whether a line of `fdinfo` is a lock at `byte`: `lock: 1: OFDLCK ADVISORY READ -1 08:01:1234 101 101`.
fn is_lock(line: &str, inode: u64, byte: i64) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [.., file, start, end] = words[..] else { return false };
    let is_file = file.rsplit(':').next().is_some_and(|number| number.parse() == Ok(inode));
    let number = |word: &str| word.parse::<i64>().unwrap_or(i64::MAX);
    is_file && number(start) <= byte && (end == "EOF" || byte <= number(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_are_told_apart_by_file_and_bytes() {
        let line = "lock:\t1: OFDLCK  ADVISORY  READ -1 08:01:1234 101 103";
        assert!(is_lock(line, 1234, 101) && is_lock(line, 1234, 103));
        assert!(!is_lock(line, 1234, 100) && !is_lock(line, 1234, 104) && !is_lock(line, 234, 101));
        assert!(is_lock("lock: 2: POSIX ADVISORY WRITE 77 00:2b:5 0 EOF", 5, 200) && !is_lock("lock:", 5, 1));
    }
}
