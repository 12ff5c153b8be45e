//! LUKS, the encrypted volumes of Linux, in both versions.

mod layout;
mod metadata;
mod version1;
mod version2;

use std::sync::Arc;

use zeroize::Zeroizing;

use super::anti_forensic;
use super::cipher::Cipher;
use super::derivation::{Budget, Derivation};
use super::hash::Hash;
use super::{Container, ImageKey, ImageLock, Sealed};
use crate::{Disk, Result, ResultExt, corrupt, unsupported};
use layout::{MAGIC, SECTOR, UUID_AT, UUID_L, VERSION_END};

/// LUKS1 and LUKS2.
pub(super) const CONTAINER: Container =
    Container { name: "crypto_LUKS", probe, uuid, unlock, unprotected: |_| Ok(None) };

/// The longest key, in bytes: ours, twice the longest that a cipher here has.
const MAX_KEY: usize = 128;
/// The most stripes that a key is spread over; cryptsetup always makes 4000.
const MAX_STRIPES: u32 = 16_384;

fn probe(disk: &dyn Disk) -> Result<bool> {
    Ok(matches!(version(disk)?, Some(1 | 2)))
}

/// The version in the header, if there is one.
fn version(disk: &dyn Disk) -> Result<Option<u16>> {
    let mut start = [0; VERSION_END];
    if disk.size() < start.len() as u64 {
        return Ok(None);
    }
    disk.read_at(&mut start, 0)?;
    Ok(start.strip_prefix(&MAGIC).map(|version| u16::from_be_bytes([version[0], version[1]])))
}

fn uuid(disk: &dyn Disk) -> Result<Option<String>> {
    let mut field = [0; UUID_L];
    disk.read_at(&mut field, UUID_AT)?;
    let uuid = text(&field).to_ascii_lowercase();
    // It becomes a part of a device's name.
    let plain = !uuid.is_empty() && uuid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    Ok(plain.then_some(uuid))
}

fn unlock(sealed: &Sealed, secret: &[u8]) -> Result<Option<Arc<dyn Disk>>> {
    let opened = match version(sealed.header().as_ref())? {
        Some(1) => version1::unlock(sealed, secret),
        Some(2) => version2::unlock(sealed, secret),
        Some(other) => Err(unsupported!("LUKS of version {other}, 1 and 2 are known")),
        None => Err(corrupt!("LUKS header", 0u32, "its magic is missing")),
    };
    opened.within(sealed.header())
}

/// How an image format is encrypted whose LUKS header lies on `header`: QEMU has put only version 1 into images.
pub(super) fn image_lock(header: &dyn Disk) -> Result<ImageLock> {
    match version(header)? {
        Some(1) => {}
        Some(other) => return Err(unsupported!("LUKS of version {other} in an image, only 1 is known there")),
        None => return Err(corrupt!("LUKS header", 0u32, "its magic is missing")),
    }
    Ok(ImageLock { method: "LUKS", uuid: uuid(header)?, header: version1::read_header(header)?.to_vec() })
}

/// The key of such an image, if `secret` is one of its passphrases.
pub(super) fn image_key(header: &dyn Disk, secret: &[u8]) -> Result<Option<ImageKey>> {
    Ok(version1::cipher(header, secret)?.map(ImageKey::new))
}

/// A field of text that ends with a NUL.
fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(field.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

/// A key slot of either version.
struct Slot {
    derivation: Derivation,
    salt: Vec<u8>,
    /// The cipher of the key material, and the length of its key in bytes.
    cipher: String,
    cipher_key_size: usize,
    /// Where the key material lies, in bytes.
    at: u64,
    /// The length of the key that is kept here, in bytes.
    key_size: usize,
    stripes: u32,
    hash: Hash,
}

impl Slot {
    /// The key that this slot holds if `secret` is its passphrase; some other key if it is not.
    fn open(&self, header: &dyn Disk, secret: &[u8], budget: &mut Budget) -> Result<Zeroizing<Vec<u8>>> {
        for size in [self.key_size, self.cipher_key_size] {
            if size == 0 || size > MAX_KEY {
                return Err(corrupt!("key slot", self.at, "a key of {size} bytes, want 1 to {MAX_KEY}"));
            }
        }
        if self.stripes == 0 || self.stripes > MAX_STRIPES {
            return Err(corrupt!("key slot", self.at, "{} stripes, want 1 to {MAX_STRIPES}", self.stripes));
        }
        let len = (self.key_size * self.stripes as usize).next_multiple_of(SECTOR as usize);
        if self.at.checked_add(len as u64).is_none_or(|end| end > header.size()) {
            return Err(corrupt!("key slot", self.at, "its {len} bytes do not lie on {header}"));
        }
        let mut key = Zeroizing::new(vec![0; self.cipher_key_size]);
        // A cipher that is not known costs no derivation.
        Cipher::new(&self.cipher, &key, SECTOR as usize)?;
        self.derivation.derive(secret, &self.salt, &mut key, budget)?;
        let mut material = Zeroizing::new(vec![0; len]);
        header.read_at(&mut material, self.at)?;
        Cipher::new(&self.cipher, &key, SECTOR as usize)?.decrypt(&mut material, 0);
        Ok(anti_forensic::merge(&material[..self.key_size * self.stripes as usize], self.key_size, self.hash))
    }
}

/// Tries slots until `check` accepts the key that one of them gives. A slot that cannot be tried does not keep the
/// others from being tried; if none of them opens, its error is the answer.
fn first_that_opens<T>(
    slots: impl Iterator<Item = Result<Slot>>,
    header: &dyn Disk,
    secret: &[u8],
    mut check: impl FnMut(usize, &[u8], &mut Budget) -> Result<Option<T>>,
) -> Result<Option<T>> {
    let mut budget = Budget::default();
    let mut failed = None;
    for (index, slot) in slots.enumerate() {
        let tried = slot.and_then(|slot| {
            let key = slot.open(header, secret, &mut budget)?;
            check(index, &key, &mut budget)
        });
        match tried {
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) => {}
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(None), Err)
}
