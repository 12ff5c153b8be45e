//! Which of the file systems that were chosen are written.

use std::sync::Arc;

use filesystems::FileSystem;
use images::{Access, Result, read_only};

use super::Place;
use crate::stack::Stack;

/// What a selection wants to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Writing {
    /// Nothing can be: `-m …:rw` is refused.
    #[default]
    Never,
    /// What `-m …:rw` names.
    Named,
    /// Everything but what `-m …:ro` names. Of a guest, all that can be, its root in any case.
    All,
    /// Everything that can be. Of the rest it is said why not.
    Possible,
}

impl Writing {
    /// The same for what is beside the root of a guest.
    pub(super) fn beside_root(self) -> Self {
        if self == Self::All { Self::Possible } else { self }
    }
}

impl Place {
    /// The file system on this device of the stack, at `/`, to be written as far as that is wanted; `open` opens it.
    pub(super) fn open_for(
        stack: &Stack,
        at: usize,
        writing: Writing,
        open: impl FnOnce(Access) -> Result<Arc<dyn FileSystem>>,
    ) -> Result<Self> {
        if matches!(writing, Writing::Never | Writing::Named) {
            return Self::open_as(stack, at, || open(Access::Read));
        }
        let name = &stack.devices[at].name;
        let mut written = true;
        let place = Self::open_as(stack, at, || {
            let fs = open(Access::ReadWrite)?;
            if let Err(why) = fs.writer(fs.root()) {
                if writing == Writing::All {
                    return Err(read_only!("--rw: {name}: {why}; leave out --rw to mount it for reading"));
                }
                log::warn!("{name} is mounted for reading only: {why}");
                written = false;
            }
            Ok(fs)
        })?;
        Ok(Self { written, ..place })
    }
}
