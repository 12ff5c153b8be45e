//! What a kind of encrypted volume is: the types that leaves are made of.

use std::sync::Arc;

use crate::{Disk, Result};

/// A kind of encrypted volume: a leaf of this crate, one line in [`CONTAINERS`](super::CONTAINERS).
///
/// What not every kind has is left out by [`Container::new`].
#[derive(Clone, Copy)]
pub struct Container {
    /// The name that blkid has for it, for example `crypto_LUKS`.
    pub name: &'static str,
    /// What people call it, in messages: `LUKS`.
    pub title: &'static str,
    /// What guestmount calls the disk inside, before the UUID: `luks-`, for a kind that has a UUID.
    pub mapped: &'static str,
    /// Whether the volume starts like this kind. Fails only if it cannot be read.
    pub probe: Probe,
    /// The UUID in the header, in lower case, if this kind has one. Fails if the header cannot be read.
    pub uuid: fn(&dyn Disk) -> Result<Option<String>>,
    /// The disk inside, which `secret` opens, or `None` if it opens nothing here.
    ///
    /// Takes as long as the key derivation takes: seconds. A header that asks for more work than this program allows
    /// is refused by name.
    pub unlock: Unlock,
    /// The disk inside, if it is open to everybody: its key lies beside it.
    pub unprotected: fn(&Sealed) -> Result<Option<Arc<dyn Disk>>>,
}

/// Whether a volume starts like a kind of container.
pub type Probe = fn(&dyn Disk) -> Result<bool>;
/// Opens the disk inside with a secret, if that is the right one.
pub type Unlock = fn(&Sealed, secret: &[u8]) -> Result<Option<Arc<dyn Disk>>>;

impl Container {
    /// A kind without UUIDs, of which no volume is open to everybody.
    pub const fn new(name: &'static str, title: &'static str, probe: Probe, unlock: Unlock) -> Self {
        Self { name, title, mapped: "", probe, unlock, uuid: |_| Ok(None), unprotected: |_| Ok(None) }
    }
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
