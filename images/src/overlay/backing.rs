//! How an overlay names the image below it, as QEMU resolves that name.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::location::Location;
use crate::name::Name;
use crate::origin::{Identity, Origin};
use crate::{Error, Result, unsupported};

/// The longest name that an overlay records, in bytes: qcow2's.
const MOST: usize = 1023;

/// The image below an overlay.
pub struct Backing {
    /// What the overlay calls it.
    pub name: Vec<u8>,
    format: String,
    identity: Identity,
}

impl Backing {
    /// The image from `origin`, of this format, for an overlay at `path`: by its name alone where both lie in one folder, so
    /// that the folder can be moved; else by its whole path, or its address without what may be secret.
    pub fn of(origin: &Origin, format: &str, path: &Path) -> Result<Self> {
        let name = match origin.location() {
            Location::Address(address) => address.to_string().into_bytes(),
            Location::Host(image) => {
                let real = |path: &Path| {
                    let found = std::fs::canonicalize(path);
                    found.map_err(|source| Error::io(format!("cannot find {}", path.display()), source))
                };
                let image = real(&image)?;
                let is_beside = folder_of(path).canonicalize().is_ok_and(|folder| Some(&*folder) == image.parent());
                match image.file_name().filter(|_| is_beside) {
                    // A name with a colon could be taken for an address.
                    Some(name) if name.as_bytes().contains(&b':') => [b"./", name.as_bytes()].concat(),
                    Some(name) => name.as_bytes().to_vec(),
                    None => image.as_os_str().as_bytes().to_vec(),
                }
            }
        };
        if name.len() > MOST {
            return Err(unsupported!("{origin}: its path is longer than {MOST} bytes, which no overlay can name"));
        }
        Ok(Self { name, format: format.to_owned(), identity: origin.identity()? })
    }
}

fn folder_of(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new(".")).to_owned()
}

/// Whether `name` and `format`, which the overlay at `path` records, mean this image. A format that is not recorded is any.
pub fn is_same(name: &[u8], format: Option<&str>, image: &Backing, path: &Path) -> bool {
    if format.is_some_and(|format| format != image.format) {
        return false;
    }
    let by_name = || {
        let name = Name::parse(Path::new(OsStr::from_bytes(name))).ok()?;
        let found = std::fs::metadata(folder_of(path).join(name.path)).ok()?;
        Some(Identity::of(&found) == image.identity)
    };
    name == image.name || by_name().unwrap_or(false)
}
