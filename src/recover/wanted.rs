//! The files of one file system that are wanted: deleted ones, and earlier versions of those that still exist.

use filesystems::{Deleted, Kind, Stat};
use images::Result;

use super::Options;
use crate::place::Place;
use crate::terminal;
use crate::walk::{Name, Step, Walk};

/// A file that is wanted.
pub struct Wanted<'a> {
    pub deleted: &'a Deleted,
    /// The path that it is written to, without a slash at its start.
    pub path: Vec<u8>,
    pub stat: Stat,
    /// Whether it is an earlier version of a file that still exists: then it lies in the file system's own directories, else
    /// in those of the tree of deleted files.
    pub living: bool,
}

/// Calls `each` with the files that are wanted, one after the other: there may be very many. What cannot be read is said in
/// the log.
pub fn each(
    place: &Place,
    options: &Options<'_>,
    level: log::Level,
    each: &mut dyn FnMut(Wanted<'_>) -> Result<()>,
) -> Result<()> {
    for found in place.deleted.found()? {
        let path = place.deleted.path(found.node)?;
        match place.tree.stat(found.deleted.node) {
            Ok(stat) if options.filter.wants(&found, &path, Some(&stat)) => {
                each(Wanted { deleted: found.deleted, path, stat, living: false })?;
            }
            Ok(_) => {}
            Err(error) => log::log!(level, "{}:/{}: {error}", place.name, terminal::clean(&path)),
        }
    }
    if options.living {
        each_living(place, options, level, each)?;
    }
    Ok(())
}

fn each_living(
    place: &Place,
    options: &Options<'_>,
    level: log::Level,
    each: &mut dyn FnMut(Wanted<'_>) -> Result<()>,
) -> Result<()> {
    let mut walk = Walk::new(&*place.tree, place.tree.root(), b"", &place.budget);
    while let Some(step) = walk.step() {
        let (path, node) = match step {
            Step::Name(Name { path, stat: Ok(stat), node, .. }) => {
                if stat.kind != Kind::File || !options.filter.wants_path(&path[1..]) {
                    continue;
                }
                (path, node)
            }
            Step::Name(Name { path, stat: Err(why), .. }) | Step::Gap(path, why) => {
                log::log!(level, "{}:{}: {why}", place.name, terminal::clean(path));
                continue;
            }
        };
        let mut outcome = Ok(());
        place.tree.forensics()?.versions(node, &mut |deleted| {
            let path = [&path[1..], format!("#{}@{}", deleted.number, deleted.version).as_bytes()].concat();
            match place.tree.stat(deleted.node) {
                Ok(stat) if options.filter.wants_state(deleted, Some(&stat)) => {
                    outcome = each(Wanted { deleted, path, stat, living: true });
                }
                Ok(_) => {}
                Err(error) => log::log!(level, "{}:/{}: {error}", place.name, terminal::clean(&path)),
            }
            outcome.is_ok()
        })?;
        outcome?;
    }
    Ok(())
}
