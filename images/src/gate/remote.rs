//! The files that an image names which lies elsewhere than on this host.
//!
//! Whoever runs the server has written it, and he is no user of this host: no file of the host is opened on his behalf, not
//! even one that everyone here may read. His own server's files are his.

use std::path::Path;
use std::sync::Arc;

use super::{Backing, Gate};
use crate::disk::{HostFile, printable};
use crate::name::Name;
use crate::origin::{Identity, Origin, Remote};
use crate::{Error, Result};

impl Gate<'_> {
    /// The file that `name` says: of the same server, relative to `remote`; or of the host where the user allows that.
    pub(super) fn beside(&self, remote: &Remote, name: &Name) -> Result<Origin> {
        let path = name.path.as_path();
        if !name.is_bare || path.is_absolute() {
            return self.of_host(path);
        }
        if !remote.has_folder() {
            let (path, scheme) = (printable(path), remote.address().scheme());
            return Err(Error::Unsupported(format!("it names {path}, and nothing lies beside an image of {scheme}")));
        }
        let address = remote.address().beside(path.as_os_str());
        self.check_chain(&address.to_string(), &Identity::Address(address.clone()))?;
        Ok(Origin::Remote(Arc::new(remote.beside(path.as_os_str(), self.rules.budget)?)))
    }

    /// A file of the host that a server names.
    fn of_host(&self, path: &Path) -> Result<Origin> {
        let shown = printable(path);
        if self.rules.backing != Backing::Follow {
            let why = "and an image from a server gets none; --backing=follow allows it";
            return Err(Error::Denied(format!("it names {shown}, a file of this host, {why}")));
        }
        if !path.is_absolute() {
            let why = "and an image from a server lies in no folder of it";
            return Err(Error::Unsupported(format!("it names {shown}, a file of this host, {why}")));
        }
        let file = HostFile::open(path)?;
        self.check_chain(&shown, &Identity::of(&file.metadata()?))?;
        Ok(Origin::Host(Arc::new(file)))
    }
}
