//! What a kind of source is: how the bytes are had that an address leads to.

use std::fmt;
use std::sync::Arc;

use crate::address::Address;
use crate::{Budget, Disk, Result};

/// A kind of source: a leaf of this crate, one line in [`SOURCES`](crate::SOURCES). Files of the host are the source of
/// whatever is no address.
///
/// What not every source has is an optional field, which [`Source::new`] leaves out.
#[derive(Clone, Copy)]
pub struct Source {
    /// The schemes of its addresses, in lower case: `http`, `https`.
    pub schemes: &'static [&'static str],
    /// Opens what the address leads to, for reading. The disk displays as the address does.
    ///
    /// That nothing is there is an `Io` error of the kind `NotFound`. The disk keeps what it read, in a part of the budget:
    /// each read may be a question to a server.
    pub open: Open,
    /// Whether the path of an address is that of a file in a folder. Then an image may name others of the same server,
    /// relative to it; else it may name none.
    pub folders: bool,
}

/// Opens what an address leads to.
pub type Open = fn(&Address, &Budget) -> Result<Arc<dyn Disk>>;

impl Source {
    /// A source of these schemes, whose images stand alone.
    pub const fn new(schemes: &'static [&'static str], open: Open) -> Self {
        Self { schemes, open, folders: false }
    }

    /// Whether addresses with this scheme are its own.
    pub fn reads(&self, scheme: &str) -> bool {
        self.schemes.contains(&scheme)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.schemes.join(", "))
    }
}
