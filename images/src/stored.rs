//! The hashes that an image stores, of its disk or of its files.

use std::sync::Arc;

use md5::Md5;
use sha1::Sha1;
use sha2::digest::DynDigest;
use sha2::{Sha256, Sha512};

use crate::{Disk, Result};

/// How a hash is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// MD5, 16 bytes.
    Md5,
    /// SHA-1, 20 bytes.
    Sha1,
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-512, 64 bytes.
    Sha512,
}

impl Algorithm {
    /// The name as manifests write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
        }
    }

    /// The algorithm of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Md5, Self::Sha1, Self::Sha256, Self::Sha512].into_iter().find(|algorithm| algorithm.name() == name)
    }

    pub(crate) fn start(self) -> Box<dyn DynDigest> {
        match self {
            Self::Md5 => Box::new(Md5::default()),
            Self::Sha1 => Box::new(Sha1::default()),
            Self::Sha256 => Box::new(Sha256::default()),
            Self::Sha512 => Box::new(Sha512::default()),
        }
    }
}

/// A hash that an image stores.
pub struct Stored {
    /// The file that it is of, as the image names it; `None` if it is of the disk.
    pub file: Option<String>,
    /// How it is computed.
    pub algorithm: Algorithm,
    /// Its value.
    pub value: Vec<u8>,
    /// What it is of, or why that is not here.
    pub(crate) bytes: Result<Arc<dyn Disk>>,
}

impl Stored {
    /// A hash of the disk.
    pub(crate) fn of_disk(algorithm: Algorithm, value: Vec<u8>, disk: Arc<dyn Disk>) -> Self {
        Self { file: None, algorithm, value, bytes: Ok(disk) }
    }

    /// A hash of the file `name`.
    pub(crate) fn of_file(name: String, algorithm: Algorithm, value: Vec<u8>, bytes: Result<Arc<dyn Disk>>) -> Self {
        Self { file: Some(name), algorithm, value, bytes }
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
