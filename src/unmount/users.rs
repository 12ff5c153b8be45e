//! Who uses a mount: the processes that stand in it, run from it, or have something of it open.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A process that uses a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pid: u32,
    command: String,
    /// How: the working directory, the root, the program, an open file, a mapped file; and one such path.
    uses: Vec<(&'static str, PathBuf)>,
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.command)?;
        for (n, (how, path)) in self.uses.iter().enumerate() {
            write!(f, "{} {how} {}", if n == 0 { ":" } else { "," }, path.display())?;
        }
        Ok(())
    }
}

/// The processes that use the mount on `point`, as far as this user may see. Nothing inside the mount is touched, so
/// that a server that hangs does no harm.
pub fn users(point: &Path) -> Vec<User> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let mut users: Vec<User> = processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| user(pid, point))
        .collect();
    users.sort_by_key(|user| user.pid);
    users
}

fn user(pid: u32, point: &Path) -> Option<User> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let inside = |link: PathBuf| fs::read_link(link).ok().filter(|path| path.starts_with(point));
    let mut uses = Vec::new();
    for (name, how) in [("cwd", "stands in"), ("root", "has its root in"), ("exe", "runs")] {
        uses.extend(inside(process.join(name)).map(|path| (how, path)));
    }
    let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    uses.extend(files.filter_map(|file| inside(file.path())).next().map(|path| ("has open", path)));
    uses.extend(mapped(&process, point).map(|path| ("has mapped", path)));
    if uses.is_empty() {
        return None;
    }
    // A process may call itself anything.
    let command = fs::read(process.join("comm")).unwrap_or_default();
    Some(User { pid, command: String::from_utf8_lossy(&command).trim_end_matches('\n').into(), uses })
}

/// The first mapped file inside `point`: in a line of `maps`, the path is what follows the fifth field.
fn mapped(process: &Path, point: &Path) -> Option<PathBuf> {
    let maps = fs::read(process.join("maps")).ok()?;
    let path = |line: &[u8]| {
        let at = line.iter().position(|byte| *byte == b'/')?;
        Some(PathBuf::from(OsStr::from_bytes(&line[at..])))
    };
    maps.split(|byte| *byte == b'\n').filter_map(path).find(|path| path.starts_with(point))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_this_process_by_an_open_file() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(users(dir.path()), []);
        let path = dir.path().join("file");
        let _file = fs::File::create(&path).unwrap();
        let users = users(dir.path());
        let us = users.iter().find(|user| user.pid == std::process::id()).unwrap();
        assert_eq!(us.uses, [("has open", path)]);
        assert!(us.to_string().contains("has open /"), "{us}");
    }
}
