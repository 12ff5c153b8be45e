//! Images that are encrypted as such, as qcow2 can be: who has the key, and what a format does with it.

use std::fmt;
use std::sync::Arc;

use super::cipher::{Cipher, IV_UNIT, SECTOR};
use super::sectors::Sectors;
use crate::location::Location;
use crate::{Disk, Result, unsupported};

/// Tries one secret on an image: its key if that is the right one.
pub type Attempt<'a> = dyn FnMut(&[u8]) -> Result<Option<ImageKey>> + 'a;

/// Where the keys of encrypted images come from.
pub trait Secrets: fmt::Debug + Send + Sync {
    /// The key of `image`, which `attempt` finds for the right secret. Every attempt takes as long as the key
    /// derivation takes.
    ///
    /// Fails with `Denied` if there is no secret for this image or if none of them opens it, and says which option
    /// gives one.
    fn unlock(&self, image: &EncryptedImage<'_>, attempt: &mut Attempt<'_>) -> Result<ImageKey>;
}

/// An image that needs a key.
pub struct EncryptedImage<'a> {
    /// Where its file lies.
    pub location: &'a Location,
    /// What says so and how.
    pub lock: &'a ImageLock,
}

/// How an image is encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageLock {
    /// `LUKS` or `AES`.
    pub method: &'static str,
    /// The UUID in its header, if that has one.
    pub uuid: Option<String>,
    /// The header that the key belongs to, which no other image has. Empty where the secret is the key.
    pub header: Vec<u8>,
}

impl ImageLock {
    /// The qcow formats' own encryption with AES, which has no header.
    pub(crate) fn legacy_aes() -> Self {
        Self { method: "AES", uuid: None, header: Vec::new() }
    }
}

/// The opened key of an image. It is wiped when the last copy is dropped.
#[derive(Clone)]
pub struct ImageKey(Arc<Cipher>);

impl fmt::Debug for ImageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ImageKey(…)")
    }
}

impl ImageKey {
    pub(super) fn new(cipher: Cipher) -> Self {
        Self(Arc::new(cipher))
    }

    /// The key of the qcow formats' own encryption: AES with 128 bits in CBC, and the secret itself, cut or filled up
    /// with zeros, as the key. No secret is wrong: what a wrong one gives is noise.
    pub(crate) fn legacy_aes(secret: &[u8]) -> Result<Self> {
        let mut key = zeroize::Zeroizing::new([0; 16]);
        let len = secret.len().min(key.len());
        key[..len].copy_from_slice(&secret[..len]);
        Cipher::new("aes-cbc-plain64", &*key, SECTOR).map(Self::new)
    }

    /// Fills `buf` with what is encrypted at byte `at` of `disk`. `numbered` is the byte that the sectors are numbered
    /// by; it lies as far into its sector as `at`.
    pub(crate) fn read_at(&self, disk: &dyn Disk, buf: &mut [u8], at: u64, numbered: u64) -> Result<()> {
        let inside = numbered % IV_UNIT;
        let sectors = Sectors { disk, at: at - inside.min(at), first: numbered / IV_UNIT, cipher: &self.0 };
        sectors.read_at(buf, inside)
    }

    /// Encrypts whole sectors in place; `numbered` is the byte that the first is numbered by, a multiple of its size.
    /// Fails if the cipher is one that is only read.
    pub(crate) fn encrypt(&self, data: &mut [u8], numbered: u64) -> Result<()> {
        if !self.0.encrypts() {
            return Err(unsupported!("the cipher of the image is only read"));
        }
        self.0.encrypt(data, numbered / IV_UNIT);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Memory;

    #[test]
    fn any_range_reads_as_the_whole_does() {
        let disk = Memory::new("m", (0..4096).map(|n| (n * 7 / 3) as u8).collect());
        let key = ImageKey::legacy_aes(b"a secret that is longer than the key").unwrap();
        let mut whole = vec![0; 2048];
        key.read_at(&disk, &mut whole, 1024, 512).unwrap();
        for start in (0..2048).step_by(37) {
            for len in [1, 100, 512, 700, 1500] {
                let mut buf = vec![0; len.min(2048 - start)];
                key.read_at(&disk, &mut buf, 1024 + start as u64, 512 + start as u64).unwrap();
                assert!(buf == whole[start..][..buf.len()], "{len} bytes at {start}");
            }
        }
        let same = ImageKey::legacy_aes(b"a secret that is").unwrap();
        let mut again = vec![0; 2048];
        same.read_at(&disk, &mut again, 1024, 512).unwrap();
        assert!(again == whole, "sixteen bytes count");
        ImageKey::legacy_aes(b"a secret").unwrap().read_at(&disk, &mut again, 1024, 512).unwrap();
        assert!(again != whole);
    }
}
