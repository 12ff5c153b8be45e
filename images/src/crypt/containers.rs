//! The table of containers: a line for each; and how one is found.

use super::container::Container;
use super::{bitlocker, luks};
use crate::{Disk, Error, Result};

/// Every kind of container that can be unlocked.
pub static CONTAINERS: &[Container] = &[luks::CONTAINER, bitlocker::CONTAINER];

/// The kind of container that starts on `disk`, or `None`.
pub fn recognise(disk: &dyn Disk) -> Result<Option<&'static Container>> {
    recognise_among(CONTAINERS, disk)
}

/// The one of these kinds that starts on `disk`, or `None`. Each is asked once.
pub fn recognise_among(containers: &'static [Container], disk: &dyn Disk) -> Result<Option<&'static Container>> {
    let mut found: Option<&Container> = None;
    for container in containers {
        if (container.probe)(disk)? {
            if let Some(first) = found {
                return Err(Error::Ambiguous(format!("{disk} looks like {} and like {}", first.name, container.name)));
            }
            found = Some(container);
        }
    }
    Ok(found)
}
