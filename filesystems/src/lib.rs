//! A disk becomes a tree of files: the drivers, and the views that make one tree of several.
//!
//! The noun of this crate is [`FileSystem`]. A driver makes one from a [`Disk`]; a view makes one from others.
//!
//! ```
//! use std::path::Path;
//! use std::sync::Arc;
//!
//! use filesystems::FileSystem;
//! use images::disk::View;
//!
//! # fn main() -> images::Result<()> {
//! # let image = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/demo/guest.qcow2");
//! let disk = images::open(Path::new(image), &images::Options::default())?;
//! let partition = Arc::new(View::new("the EFI system partition", disk, 1 << 20, 8 << 20)?);
//! let tree = filesystems::open(partition, &filesystems::Options::default())?;
//! let file = filesystems::resolve(&*tree, b"/EFI/debian/grub.cfg", true)?;
//! let text = filesystems::read_file(&*tree, file, 4096)?;
//! assert_eq!(text.len() as u64, tree.stat(file)?.size);
//! # Ok(())
//! # }
//! ```

mod calendar;
pub mod ext;
mod fat;
mod forensics;
mod interned;
mod known;
mod members;
pub mod path;
mod room;
mod stored;
#[cfg(test)]
mod toy;
pub mod tree;
mod tree_mut;
pub mod view;

use std::sync::Arc;

use images::disk::{Access, Cached};
use images::{Budget, Disk, Error, Result};

pub use forensics::{Deleted, Evidence, Forensics, Parent, State};
pub use interned::Interned;
pub use members::{Member, Members};
pub use path::{read_file, resolve};
pub use tree::{Entry, FileSystem, Holds, Kind, NodeId, Properties, Space, Stat, Time, Trees};
pub use tree_mut::{Allocation, Changes, FileSystemMut, New, NewContent, Rename, SetXattr};

/// A file system, or other contents of a volume that are known by name: a leaf of this crate, one line in [`DRIVERS`].
pub struct Driver {
    /// The field's name for the family: `ext`, `fat`, `swap`.
    pub name: &'static str,
    /// What this disk holds, if it is of this family. Fails only if the disk cannot be read.
    pub probe: fn(&dyn Disk) -> Result<Option<Identity>>,
    /// Opens it. Contents that are recognised and not read are refused by name with `Unsupported`.
    pub open: fn(&Request<'_>) -> Result<Arc<dyn FileSystem>>,
}

/// What a driver is asked to open, where it finds what else belongs to it, and how.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Request<'a> {
    /// The disk that the driver's probe has recognised.
    pub disk: &'a Arc<dyn Disk>,
    /// The disks on which other parts of the file system may lie.
    pub members: &'a Members,
    /// How it is to be opened.
    pub options: &'a Options,
}

impl<'a> Request<'a> {
    /// For what begins on `disk` and may go on on `members`.
    pub fn new(disk: &'a Arc<dyn Disk>, members: &'a Members, options: &'a Options) -> Self {
        Self { disk, members, options }
    }
}

/// What a volume holds, found without opening it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The type as fstab and blkid call it: `ext4`, `vfat`, `swap`.
    pub kind: String,
    /// The label, if it has one; bytes, because nothing says that it is text.
    pub label: Option<Vec<u8>>,
    /// The UUID or serial number as blkid prints it: what fstab's `UUID=` means.
    pub uuid: Option<String>,
}

/// How a file system is to be opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Replay a journal that needs it: in memory, or, with [`Access::ReadWrite`], on the disk. If not, the tree is what
    /// the disk holds, and is not written.
    pub replay: bool,
    /// Whether it is to be written. Then [`FileSystem::writer`] is the write half, or says why it is not written all the same.
    pub access: Access,
    /// What all file systems of the program together may hold; clones of one budget.
    pub budget: Budget,
}

impl Default for Options {
    fn default() -> Self {
        Self { replay: true, access: Access::Read, budget: Budget::default() }
    }
}

/// Every driver. All are asked; two that match are an error.
pub static DRIVERS: &[Driver] = &[
    known::CONTAINER,
    known::CONTENTS,
    ext::DRIVER,
    fat::DRIVER,
    #[cfg(test)]
    toy::DRIVER,
];

/// How probes read: pages of 4 KiB, and no more of them than all the probes together touch, in bytes.
const PROBE_PAGE: usize = 4096;
const PROBE_CACHE: u64 = 1 << 20;

/// What `disk` holds and which driver says so, or `None`. Fails with `Ambiguous` if two drivers say so, naming both,
/// and if nothing is recognised because the disk cannot be read.
pub fn identify(disk: &Arc<dyn Disk>) -> Result<Option<(&'static Driver, Identity)>> {
    // Many probes look at the same few pages.
    identify_by(DRIVERS, &Cached::new(disk.clone(), PROBE_PAGE, PROBE_CACHE))
}

fn identify_by(drivers: &'static [Driver], disk: &dyn Disk) -> Result<Option<(&'static Driver, Identity)>> {
    let mut found: Option<(&Driver, Identity)> = None;
    let mut unread = None;
    for driver in drivers {
        let identity = match (driver.probe)(disk) {
            Ok(Some(identity)) => identity,
            Ok(None) => continue,
            Err(error @ Error::Ambiguous(_)) => return Err(error),
            // One bad sector must not hide what the others say.
            Err(error) => {
                unread.get_or_insert(error);
                continue;
            }
        };
        // Half a mirror is not the file system that shows through, and must not be shown as one.
        if driver.name == known::CONTAINER.name {
            return Ok(Some((driver, identity)));
        }
        found = match found {
            None => Some((driver, identity)),
            Some((first, other)) => Some(stronger(disk, (first, other), (driver, identity))?),
        };
    }
    match (found, unread) {
        (None, Some(error)) => Err(error),
        (found, _) => Ok(found),
    }
}

/// Which of two answers holds: a driver that reads the contents has checked a whole superblock, and a signature
/// elsewhere may be what some file of the guest holds. Two of a kind are ambiguous.
fn stronger(
    disk: &dyn Disk,
    first: (&'static Driver, Identity),
    second: (&'static Driver, Identity),
) -> Result<(&'static Driver, Identity)> {
    let (read, known) = match (first.0.name == known::CONTENTS.name, second.0.name == known::CONTENTS.name) {
        (false, true) => (first, second),
        (true, false) => (second, first),
        _ => return Err(Error::Ambiguous(format!("{disk} looks like {} and like {}", first.1.kind, second.1.kind))),
    };
    log::warn!("{disk} is {}; a signature of {} in it is passed over", read.1.kind, known.1.kind);
    Ok(read)
}

/// Opens what `disk` holds, alone. Fails with `Unknown` if nothing recognises it, with `Unsupported` if it is known and
/// not read, and as [`identify`] does.
pub fn open(disk: Arc<dyn Disk>, options: &Options) -> Result<Arc<dyn FileSystem>> {
    open_request(&Request::new(&disk, &Members::default(), options))
}

/// The same of a file system that may lie on several disks.
pub fn open_request(request: &Request<'_>) -> Result<Arc<dyn FileSystem>> {
    match identify(request.disk)? {
        Some((driver, _)) => (driver.open)(request),
        None => Err(Error::Unknown(format!("no file system recognised on {}", request.disk))),
    }
}

#[cfg(test)]
mod tests {
    use images::disk::{Faulty, Memory};

    use super::*;

    fn probe(disk: &dyn Disk, at: u64, kind: &str) -> Result<Option<Identity>> {
        let mut byte = [0];
        disk.read_at(&mut byte, at)?;
        Ok((byte == [1]).then(|| Identity { kind: kind.into(), ..Identity::default() }))
    }

    fn refuse(_: &Request<'_>) -> Result<Arc<dyn FileSystem>> {
        Err(Error::Invalid)
    }

    static TWO: &[Driver] = &[
        Driver { name: "one", probe: |disk| probe(disk, 0, "one"), open: refuse },
        Driver { name: "two", probe: |disk| probe(disk, 1, "two"), open: refuse },
    ];

    #[test]
    fn all_drivers_are_asked() {
        let ask = |bytes: [u8; 2]| {
            let found = identify_by(TWO, &Memory::new("m", bytes.to_vec()));
            found.map(|found| found.map(|(driver, identity)| (driver.name, identity.kind)))
        };
        assert!(ask([0, 0]).unwrap().is_none());
        assert_eq!(ask([1, 0]).unwrap(), Some(("one", "one".to_owned())));
        assert_eq!(ask([0, 1]).unwrap(), Some(("two", "two".to_owned())));
        assert_eq!(ask([1, 1]).unwrap_err().to_string(), "m looks like one and like two");
    }

    #[test]
    fn a_bad_sector_hides_only_what_it_holds() {
        let memory: Arc<dyn Disk> = Arc::new(Memory::new("m", vec![1, 1]));
        let faulty = |bad| Faulty::new(memory.clone(), vec![bad]);
        let (_, identity) = identify_by(TWO, &faulty(0..1)).unwrap().unwrap();
        assert_eq!(identity.kind, "two");
        assert!(matches!(identify_by(TWO, &faulty(0..2)), Err(Error::Io { .. })));
    }

    #[test]
    fn what_is_read_beats_what_is_only_known() {
        let answer = |name: &'static str, kind: &str| {
            let driver: &'static Driver = DRIVERS.iter().find(|driver| driver.name == name).unwrap();
            (driver, Identity { kind: kind.into(), ..Identity::default() })
        };
        let disk = Memory::new("m", Vec::new());
        let kind = |first, second| stronger(&disk, first, second).map(|(_, identity)| identity.kind);
        let known = known::CONTENTS.name;
        assert_eq!(kind(answer(known, "jfs"), answer("ext", "ext4")).unwrap(), "ext4", "a file may hold any signature");
        assert_eq!(kind(answer("ext", "ext4"), answer(known, "jfs")).unwrap(), "ext4");
        let error = kind(answer("ext", "ext4"), answer("fat", "vfat")).unwrap_err();
        assert_eq!(error.to_string(), "m looks like ext4 and like vfat");
    }

    #[test]
    fn nothing_is_recognised_in_nothing() {
        for size in [0, 1, 511, 512, 1024, 4096, 1 << 20] {
            let disk: Arc<dyn Disk> = Arc::new(Memory::new("m", vec![0; size]));
            assert!(identify(&disk).unwrap().is_none(), "{size}");
            let error = open(disk, &Options::default()).err().unwrap();
            assert_eq!(error.to_string(), "no file system recognised on m");
        }
    }
}
