//! Which driver a disk is for, and what it makes of it.

use std::cmp::Ordering;
use std::sync::Arc;

use images::disk::Cached;
use images::{Disk, Error, Result};

use crate::driver::{Driver, Options, Precedence, Request};
use crate::drivers::DRIVERS;
use crate::identity::Identity;
use crate::members::Members;
use crate::tree::FileSystem;

/// How probes read: pages of 4 KiB, and no more of them than all the probes together touch, in bytes.
const PROBE_PAGE: usize = 4096;
const PROBE_CACHE: u64 = 1 << 20;

/// What `disk` holds and which driver says so, or `None`. Fails with `Ambiguous` if two drivers say so, naming both,
/// and if nothing is recognised because the disk cannot be read.
pub fn identify(disk: &Arc<dyn Disk>) -> Result<Option<(&'static Driver, Identity)>> {
    identify_among(DRIVERS, &Cached::new(disk.clone(), PROBE_PAGE, PROBE_CACHE))
}

/// The same by these drivers alone. Many look at the same few pages: give a disk that keeps them.
pub fn identify_among(drivers: &'static [Driver], disk: &dyn Disk) -> Result<Option<(&'static Driver, Identity)>> {
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
        if driver.precedence == Precedence::Container {
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

/// Which of two answers holds. Two of a kind are ambiguous.
fn stronger(
    disk: &dyn Disk,
    first: (&'static Driver, Identity),
    second: (&'static Driver, Identity),
) -> Result<(&'static Driver, Identity)> {
    let (read, known) = match first.0.precedence.cmp(&second.0.precedence) {
        Ordering::Greater => (first, second),
        Ordering::Less => (second, first),
        Ordering::Equal => {
            return Err(Error::Ambiguous(format!("{disk} looks like {} and like {}", first.1.kind, second.1.kind)));
        }
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

    const TWO: &[Driver] = &[
        Driver::new("one", |disk| probe(disk, 0, "one"), refuse),
        Driver::new("two", |disk| probe(disk, 1, "two"), refuse),
    ];

    #[test]
    fn all_drivers_are_asked() {
        let ask = |bytes: [u8; 2]| {
            let found = identify_among(TWO, &Memory::new("m", bytes.to_vec()));
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
        let (_, identity) = identify_among(TWO, &faulty(0..1)).unwrap().unwrap();
        assert_eq!(identity.kind, "two");
        assert!(matches!(identify_among(TWO, &faulty(0..2)), Err(Error::Io { .. })));
    }

    #[test]
    fn what_is_read_beats_what_is_only_known() {
        const fn seen(driver: Driver, precedence: Precedence) -> Driver {
            Driver { precedence, ..driver }
        }
        static KNOWN: &[Driver] = &[
            seen(Driver::new("known", |disk| probe(disk, 2, "known"), refuse), Precedence::Signature),
            TWO[0],
            TWO[1],
            seen(Driver::new("half", |disk| probe(disk, 3, "half"), refuse), Precedence::Container),
        ];
        let ask = |bytes: [u8; 4]| {
            let found = identify_among(KNOWN, &Memory::new("m", bytes.to_vec()));
            found.map(|found| found.map(|(_, identity)| identity.kind)).map_err(|error| error.to_string())
        };
        assert_eq!(ask([0, 0, 1, 0]).unwrap().unwrap(), "known");
        assert_eq!(ask([1, 0, 1, 0]).unwrap().unwrap(), "one", "a file may hold any signature");
        assert_eq!(ask([1, 1, 1, 0]).unwrap_err(), "m looks like one and like two");
        assert_eq!(ask([1, 0, 1, 1]).unwrap().unwrap(), "half", "what shows through is a part of it");
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
