//! Encrypted volumes as disks: a table of containers, and what a secret opens in them.

mod anti_forensic;
mod bitlocker;
mod cbc;
mod ccm;
mod cipher;
mod decrypted;
mod derivation;
mod elephant;
mod hash;
mod image_key;
mod luks;
mod sectors;
mod xts;

use std::sync::Arc;

pub use image_key::{Attempt, EncryptedImage, ImageKey, ImageLock, Secrets};

use crate::{Disk, Error, Result};

/// A kind of encrypted volume: a leaf of this crate, one line in [`CONTAINERS`].
pub struct Container {
    /// The name that blkid has for it, for example `crypto_LUKS`.
    pub name: &'static str,
    /// Whether the volume starts like this kind. Fails only if it cannot be read.
    pub probe: fn(&dyn Disk) -> Result<bool>,
    /// The UUID in the header, in lower case, if this kind has one. Fails if the header cannot be read.
    pub uuid: fn(&dyn Disk) -> Result<Option<String>>,
    /// The disk inside, which `secret` opens, or `None` if it opens nothing here.
    ///
    /// Takes as long as the key derivation takes: seconds. A header that asks for more work than this program allows
    /// is refused by name.
    pub unlock: fn(&Sealed, secret: &[u8]) -> Result<Option<Arc<dyn Disk>>>,
    /// The disk inside, if it is open to everybody: its key lies beside it.
    pub unprotected: fn(&Sealed) -> Result<Option<Arc<dyn Disk>>>,
}

/// What is to be unlocked.
pub struct Sealed {
    /// The volume.
    pub disk: Arc<dyn Disk>,
    /// Where the header lies, if it was detached from the volume.
    pub header: Option<Arc<dyn Disk>>,
    /// What the disk inside is called in messages.
    pub name: String,
}

impl Sealed {
    /// The disk that holds the header.
    pub fn header(&self) -> &Arc<dyn Disk> {
        self.header.as_ref().unwrap_or(&self.disk)
    }
}

/// Every kind of container that can be unlocked.
pub static CONTAINERS: &[Container] = &[luks::CONTAINER, bitlocker::CONTAINER];

/// The kind of container that starts on `disk`, or `None`.
pub fn recognise(disk: &dyn Disk) -> Result<Option<&'static Container>> {
    let mut found: Option<&Container> = None;
    for container in CONTAINERS {
        if (container.probe)(disk)? {
            if let Some(first) = found {
                return Err(Error::Ambiguous(format!("{disk} looks like {} and like {}", first.name, container.name)));
            }
            found = Some(container);
        }
    }
    Ok(found)
}
