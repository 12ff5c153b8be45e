//! The parents of differencing disks: the files that Windows and VirtualBox mean, found on this host.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::format::{RAW, Request};
use crate::{Disk, Error, Result, unsupported};

/// Our limit of a path in an image, in bytes: Linux's `PATH_MAX`, in UTF-16.
pub const MAX_PATH_BYTES: u32 = 8192;

/// Names of one parent, best first.
#[derive(Default)]
pub struct Candidates(Vec<PathBuf>);

impl Candidates {
    /// Adds a path, unless it is there. A leading `./` keeps a name with a colon from being read as an address.
    pub fn push(&mut self, path: impl Into<PathBuf>) {
        let path = path.into();
        let path = if path.is_absolute() { path } else { Path::new("./").join(path) };
        if !self.0.contains(&path) {
            self.0.push(path);
        }
    }

    /// Adds a path as Windows writes it, relative to the image: `.\base.vhd`.
    pub fn push_relative(&mut self, path: &str) {
        let path = path.replace('\\', "/");
        let path = path.trim_start_matches("./");
        if !path.is_empty() && !path.starts_with('/') && !is_drive(path) {
            self.push(path);
        }
    }

    /// Adds the file of an absolute path of Windows: its drive is not here, so the file is looked for beside the image.
    pub fn push_absolute(&mut self, path: &str) {
        if let Some(name) = path.rsplit(['\\', '/']).next().filter(|name| !name.is_empty() && !is_drive(name)) {
            self.push(name);
        }
    }

    /// Opens the first of the files that exists and is the parent, as the image format `format`.
    ///
    /// `is_parent` gets the bytes of the file, and says why it is not the parent if it is not. A file that the gate
    /// denies or that cannot be read ends the search. `wanted` says in messages which parent is meant.
    pub fn open(
        &self,
        request: &Request<'_>,
        format: &str,
        wanted: &str,
        is_parent: impl Fn(&Arc<dyn Disk>) -> Result<Option<String>>,
    ) -> Result<Arc<dyn Disk>> {
        let mut wrong = None;
        for path in &self.0 {
            match request.opener.open(path, Some(RAW)) {
                Ok(file) => match is_parent(&file)? {
                    None => return request.opener.open(path, Some(format)),
                    Some(why) => wrong = Some(format!("{file} is another disk: {why}")),
                },
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let tried = self.0.iter().map(|path| crate::disk::printable(path)).collect::<Vec<_>>().join(" and ");
        Err(match wrong {
            Some(wrong) => unsupported!("its parent, {wanted}, is not found: {wrong}"),
            None if tried.is_empty() => unsupported!("its parent, {wanted}, has no name"),
            None => unsupported!("its parent, {wanted}, is not found: tried {tried}, relative to the image"),
        })
    }
}

/// Whether a path starts with a drive of Windows: `C:`.
fn is_drive(path: &str) -> bool {
    let mut chars = path.chars();
    chars.next().is_some_and(|drive| drive.is_ascii_alphabetic()) && chars.next() == Some(':')
}

/// Whether the error says that there is no such file.
pub fn is_absent(error: &Error) -> bool {
    let kind = match error.root() {
        Error::Io { source, .. } => source.kind(),
        _ => return false,
    };
    matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename)
}

/// UTF-16 up to its first zero. Bytes that are no text have no meaning as a name: `None`.
pub fn utf16(units: impl Iterator<Item = u16>) -> Option<String> {
    char::decode_utf16(units.take_while(|unit| *unit != 0)).collect::<std::result::Result<_, _>>().ok()
}

/// Little-endian UTF-16 up to its first zero.
pub fn utf16_le(bytes: &[u8]) -> Option<String> {
    utf16(bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_paths_become_paths_of_this_host() {
        let mut candidates = Candidates::default();
        candidates.push_relative(r".\base.vhd");
        candidates.push_relative(r"..\dir\base.vhd");
        candidates.push_relative(r"\\server\share\x");
        candidates.push_relative(r"C:x");
        candidates.push_relative("file:x");
        candidates.push_absolute(r"C:\VMs\base.vhd");
        candidates.push_absolute(r"\\?\Volume{1234}\dir\other.vhdx");
        candidates.push_absolute(r"C:\");
        candidates.push_absolute("C:");
        let paths: Vec<_> = candidates.0.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(paths, ["./base.vhd", "./../dir/base.vhd", "./file:x", "./other.vhdx"]);
        assert_eq!(utf16_le(b"a\0b\0\0\0c\0").unwrap(), "ab");
        assert_eq!(utf16_le(&[0, 0xd8, 0, 0]), None);
    }
}
