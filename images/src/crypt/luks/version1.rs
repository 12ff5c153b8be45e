//! LUKS1: one header of fixed size, eight key slots.

use std::sync::Arc;

use zerocopy::FromBytes;

use super::layout::{DIGEST_L, KEY_DISABLED, KEY_ENABLED, KeySlot, Phdr, SECTOR};
use super::{Slot, first_that_opens, text};
use crate::crypt::Sealed;
use crate::crypt::cipher::{Cipher, SECTOR as CIPHER_SECTOR};
use crate::crypt::decrypted::{Content, Decrypted, Segment};
use crate::crypt::derivation::Derivation;
use crate::crypt::hash::Hash;
use crate::{Disk, Result, corrupt};

/// The length of the header, in bytes.
pub(super) const HEADER_LEN: usize = size_of::<Phdr>();

pub(super) fn unlock(sealed: &Sealed, secret: &[u8]) -> Result<Option<Arc<dyn Disk>>> {
    let bytes = read_header(sealed.header().as_ref())?;
    let Some(cipher) = cipher(sealed.header().as_ref(), secret)? else { return Ok(None) };
    let at = u64::from(phdr(&bytes).payload_offset.get()) * SECTOR;
    let end = sealed.disk.size() / SECTOR * SECTOR;
    let len =
        end.checked_sub(at).ok_or_else(|| corrupt!("LUKS header", 0u32, "the data begins at {at:#x}, past the end"))?;
    let segment = Segment { len, content: Content::Sectors { at, first: 0, cipher: Arc::new(cipher) } };
    Ok(Some(Arc::new(Decrypted::new(&sealed.name, sealed.disk.clone(), vec![segment])?)))
}

/// The bytes of the header.
pub(super) fn read_header(disk: &dyn Disk) -> Result<[u8; HEADER_LEN]> {
    let mut bytes = [0; HEADER_LEN];
    disk.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn phdr(bytes: &[u8; HEADER_LEN]) -> &Phdr {
    Phdr::ref_from_bytes(bytes).expect("the length is the header's")
}

/// The cipher of the data, if `secret` is a passphrase of the header on `header`.
pub(super) fn cipher(header: &dyn Disk, secret: &[u8]) -> Result<Option<Cipher>> {
    let bytes = read_header(header)?;
    let phdr = phdr(&bytes);
    let hash = Hash::named(&text(&phdr.hash_spec))?;
    let cipher = format!("{}-{}", text(&phdr.cipher_name), text(&phdr.cipher_mode));
    let key_size = phdr.key_bytes.get() as usize;
    let slot = |slot: &KeySlot| Slot {
        derivation: Derivation::Pbkdf2 { hash, iterations: slot.iterations.get() },
        salt: slot.salt.to_vec(),
        cipher: cipher.clone(),
        cipher_key_size: key_size,
        at: u64::from(slot.key_material_offset.get()) * SECTOR,
        key_size,
        stripes: slot.stripes.get(),
        hash,
    };
    let slots = phdr.key_slots.iter().filter_map(|one| match one.active.get() {
        KEY_ENABLED => Some(Ok(slot(one))),
        KEY_DISABLED => None,
        other => {
            let at = std::mem::offset_of!(Phdr, key_slots) as u64;
            Some(Err(corrupt!("key slots", at, "one is marked {other:#x}, want {KEY_ENABLED:#x} or {KEY_DISABLED:#x}")))
        }
    });
    let digest = Derivation::Pbkdf2 { hash, iterations: phdr.mk_digest_iter.get() };
    first_that_opens(slots, header, secret, |_, key, work| {
        let mut value = [0; DIGEST_L];
        digest.derive(key, &phdr.mk_digest_salt, &mut value, work)?;
        if value != phdr.mk_digest {
            return Ok(None);
        }
        Cipher::new(&cipher, key, CIPHER_SECTOR).map(Some)
    })
}
