//! Where the bytes of a directory lie in the end, so that nothing is written into an image that is being read.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use images::{Error, Result};
use rustix::fs::{major, makedev, minor};

use crate::mounts;

/// How many files and devices may lie below a directory; ours. A host has some tens.
const MOST_LAYERS: usize = 10_000;

/// Something that holds bytes: a file, or a block device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Holder {
    /// Device and inode number.
    File(u64, u64),
    Device(u64),
}

/// Fails if the file system that holds `directory` (or would hold it) lies in a file or device that this process has
/// open: in an image, or in a file that one names.
///
/// Found are mounts of a device, its partitions and what the device mapper and RAID make of it, loop devices, network
/// block devices served on this host, and FUSE mounts that name the image as their source, all in any combination.
pub fn check(directory: &Path) -> Result<()> {
    let place = existing(directory)?;
    let failed = |error| Error::io(format!("cannot find out where {} lies", place.display()), error);
    let opened = File::open(&place).map_err(failed)?;
    let images = open_files().map_err(failed)?;
    let mut layers = Vec::new();
    below_directory(&opened, &mut layers).map_err(failed)?;
    let mut seen = HashSet::new();
    while let Some(holder) = layers.pop() {
        if images.contains(&holder) {
            let text = format!(
                "{} lies in an image that is being read: writing there would destroy what is to be recovered; name a \
                 directory on another file system",
                directory.display()
            );
            return Err(Error::Denied(text));
        }
        if seen.len() < MOST_LAYERS && seen.insert(holder) {
            match holder {
                Holder::File(device, _) => layers.push(Holder::Device(device)),
                Holder::Device(device) => below_device(device, &mut layers),
            }
        }
    }
    Ok(())
}

/// The directory, or the nearest above it that exists.
fn existing(directory: &Path) -> Result<PathBuf> {
    let failed = |error| Error::io(format!("cannot use {}", directory.display()), error);
    let absolute = std::path::absolute(directory).map_err(failed)?;
    for place in absolute.ancestors() {
        match fs::canonicalize(place) {
            Ok(place) => return Ok(place),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(PathBuf::from("/"))
}

fn holder(metadata: &Metadata) -> Option<Holder> {
    let kind = metadata.file_type();
    if kind.is_block_device() {
        Some(Holder::Device(metadata.rdev()))
    } else if kind.is_file() {
        Some(Holder::File(metadata.dev(), metadata.ino()))
    } else {
        None
    }
}

/// The files and devices that this process has open, without the three standard ones: those of the images.
fn open_files() -> std::io::Result<HashSet<Holder>> {
    let mut found = HashSet::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        if matches!(entry.file_name().to_str(), Some("0" | "1" | "2")) {
            continue;
        }
        found.extend(fs::metadata(entry.path()).ok().as_ref().and_then(holder));
    }
    Ok(found)
}

/// What the file system of a directory lies on, by its device number and by its line in the list of mounts.
fn below_directory(directory: &File, layers: &mut Vec<Holder>) -> std::io::Result<()> {
    layers.push(Holder::Device(directory.metadata()?.dev()));
    let about = fs::read_to_string(format!("/proc/self/fdinfo/{}", directory.as_raw_fd()))?;
    let id: Option<u64> =
        about.lines().find_map(|line| line.strip_prefix("mnt_id:")).and_then(|id| id.trim().parse().ok());
    let Some(mount) = mounts::all()?.into_iter().find(|mount| Some(mount.id) == id) else { return Ok(()) };
    layers.extend(mount.device.map(Holder::Device));
    let mut add = |path: &Path| layers.extend(fs::metadata(path).ok().as_ref().and_then(holder));
    add(&mount.source);
    if mount.kind.starts_with("fuse") {
        let source = mount.source.as_os_str().as_bytes();
        source.split(|byte| *byte == b',').for_each(|path| add(Path::new(OsStr::from_bytes(path))));
    }
    Ok(())
}

/// What a block device lies on, by /sys.
fn below_device(device: u64, layers: &mut Vec<Holder>) {
    let number = |path: PathBuf| {
        let text = fs::read_to_string(path).ok()?;
        let (major, minor) = text.trim().split_once(':')?;
        Some(Holder::Device(makedev(major.parse().ok()?, minor.parse().ok()?)))
    };
    let link = format!("/sys/dev/block/{}:{}", major(device), minor(device));
    let Ok(own) = fs::canonicalize(link) else { return };
    if own.join("partition").exists() {
        layers.extend(number(own.join("../dev")));
    }
    for slave in fs::read_dir(own.join("slaves")).into_iter().flatten().flatten() {
        layers.extend(number(slave.path().join("dev")));
    }
    if let Ok(path) = fs::read(own.join("loop/backing_file")) {
        let path = Path::new(OsStr::from_bytes(path.strip_suffix(b"\n").unwrap_or(&path)));
        layers.extend(fs::metadata(path).ok().as_ref().and_then(holder));
    }
    // A network block device whose server is this host's process: the files that it has open.
    if let Ok(pid) = fs::read_to_string(own.join("pid")) {
        for file in fs::read_dir(format!("/proc/{}/fd", pid.trim())).into_iter().flatten().flatten() {
            layers.extend(fs::metadata(file.path()).ok().as_ref().and_then(holder));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_directory_is_allowed() {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("disk.img");
        fs::write(&image, "x").unwrap();
        let _open = File::open(&image).unwrap();
        check(directory.path()).unwrap();
        check(&directory.path().join("not/yet/there")).unwrap();
        assert!(check(&image.join("below a file")).is_err());
    }

    #[test]
    fn what_this_process_reads_is_known() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(open_files().unwrap().contains(&holder(&file.as_file().metadata().unwrap()).unwrap()));
    }
}
