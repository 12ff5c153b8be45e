//! LUKS, the encrypted volumes of Linux, in both versions.

mod layout;
mod metadata;
mod version1;
mod version2;

use std::sync::Arc;

use zeroize::Zeroizing;

use super::anti_forensic;
use super::cipher::{Cipher, SECTOR};
use super::derivation::{Derivation, Work};
use super::hash::Hash;
use super::{Container, ImageKey, ImageLock, Sealed};
use crate::progress::{self, Progress};
use crate::{Disk, Result, ResultExt, corrupt, unsupported};
use layout::{MAGIC, UUID_AT, UUID_L, VERSION_END};

/// LUKS1 and LUKS2.
pub(super) const CONTAINER: Container =
    Container { mapped: "luks-", uuid, ..Container::new("crypto_LUKS", "LUKS", probe, unlock) };

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

impl ImageLock {
    /// LUKS, with its header on `header`. Fails with `Unsupported` for version 2: QEMU has put only 1 into images.
    pub(crate) fn luks(header: &dyn Disk) -> Result<Self> {
        match version(header)? {
            Some(1) => {}
            Some(other) => return Err(unsupported!("LUKS of version {other} in an image, only 1 is known there")),
            None => return Err(corrupt!("LUKS header", 0u32, "its magic is missing")),
        }
        Ok(Self { method: "LUKS", uuid: uuid(header)?, header: version1::read_header(header)?.to_vec() })
    }
}

impl ImageKey {
    /// The key that a LUKS header on `header` keeps, if `secret` is one of its passphrases.
    pub(crate) fn luks(header: &dyn Disk, secret: &[u8]) -> Result<Option<Self>> {
        Ok(version1::cipher(header, secret)?.map(Self::new))
    }
}

/// A field of text that ends with a NUL.
fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(field.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

/// A key slot of either version.
#[derive(PartialEq, Eq)]
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
    fn open(&self, header: &dyn Disk, secret: &[u8], work: &mut Work) -> Result<Zeroizing<Vec<u8>>> {
        for size in [self.key_size, self.cipher_key_size] {
            if size == 0 || size > MAX_KEY {
                return Err(corrupt!("key slot", self.at, "a key of {size} bytes, want 1 to {MAX_KEY}"));
            }
        }
        if self.stripes == 0 || self.stripes > MAX_STRIPES {
            return Err(corrupt!("key slot", self.at, "{} stripes, want 1 to {MAX_STRIPES}", self.stripes));
        }
        let len = (self.key_size * self.stripes as usize).next_multiple_of(SECTOR);
        if self.at.checked_add(len as u64).is_none_or(|end| end > header.size()) {
            return Err(corrupt!("key slot", self.at, "its {len} bytes do not lie on {header}"));
        }
        let mut key = Zeroizing::new(vec![0; self.cipher_key_size]);
        // A cipher that is not known costs no derivation.
        Cipher::new(&self.cipher, &key, SECTOR)?;
        let file = header.to_string();
        let (long, what) = (self.derivation.long(), "deriving a key for");
        let say = |done| {
            if let Some(long) = &long {
                progress::report(Progress { what, file: &file, done, size: 1, detail: long });
            }
        };
        say(0);
        let derived = self.derivation.derive(secret, &self.salt, &mut key, work);
        say(1);
        derived?;
        let mut material = Zeroizing::new(vec![0; len]);
        header.read_at(&mut material, self.at)?;
        Cipher::new(&self.cipher, &key, SECTOR)?.decrypt(&mut material, 0);
        Ok(anti_forensic::merge(&material[..self.key_size * self.stripes as usize], self.key_size, self.hash))
    }
}

/// Tries slots until `check` accepts the key that one of them gives. Slots that are the same give the same key, and that
/// is derived once. A slot that cannot be tried does not keep the others from being tried; if none of them opens, its
/// error is the answer.
fn first_that_opens<T>(
    slots: impl Iterator<Item = Result<Slot>>,
    header: &dyn Disk,
    secret: &[u8],
    mut check: impl FnMut(usize, &[u8], &mut Work) -> Result<Option<T>>,
) -> Result<Option<T>> {
    let mut work = Work::default();
    let mut failed = None;
    let mut derived: Vec<(Slot, Zeroizing<Vec<u8>>)> = Vec::new();
    for (index, slot) in slots.enumerate() {
        let tried = slot.and_then(|slot| {
            let at = derived.iter().position(|(other, _)| *other == slot);
            let at = match at {
                Some(at) => at,
                None => {
                    let key = slot.open(header, secret, &mut work)?;
                    derived.push((slot, key));
                    derived.len() - 1
                }
            };
            check(index, &derived[at].1, &mut work)
        });
        match tried {
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) => {}
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(None), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Memory;

    fn slot(salt: u8) -> Slot {
        Slot {
            derivation: Derivation::Pbkdf2 { hash: Hash::Sha256, iterations: 1000 },
            salt: vec![salt; 32],
            cipher: "aes-xts-plain64".to_owned(),
            cipher_key_size: 32,
            at: 0,
            key_size: 32,
            stripes: 4,
            hash: Hash::Sha256,
        }
    }

    #[test]
    fn slots_that_are_the_same_cost_one_derivation() {
        let header = Memory::new("m", (0..4096).map(|n| (n / 7) as u8).collect());
        let mut seen: Vec<(Vec<u8>, u64)> = Vec::new();
        let slots = [1, 1, 2, 1, 2].map(|salt| Ok(slot(salt)));
        let opened = first_that_opens(slots.into_iter(), &header, b"x", |_, key, work| {
            seen.push((key.to_vec(), work.hmacs()));
            Ok(None::<()>)
        });
        assert!(matches!(opened, Ok(None)) && seen.len() == 5, "each may belong to another digest");
        assert!(seen[0] == seen[1] && seen[2] == seen[4] && seen[0].0 == seen[3].0 && seen[0].0 != seen[2].0);
        assert_eq!(seen[0].1 - seen[4].1, 1000);
    }

    #[test]
    fn slots_that_cannot_be_right_cost_nothing() {
        let header = Memory::new("m", vec![0; 4096]);
        let outside = Slot { at: 1 << 20, ..slot(1) };
        let unknown = Slot { cipher: "rot13-ecb".to_owned(), ..slot(1) };
        let no_size = Slot { key_size: 0, ..slot(1) };
        for bad in [outside, unknown, no_size] {
            let mut work = Work::default();
            let before = work.hmacs();
            assert!(bad.open(&header, b"x", &mut work).is_err());
            assert_eq!(work.hmacs(), before);
        }
    }
}
