//! BitLocker, the encrypted volumes of Windows 7 and later.
//!
//! [BitLocker Drive Encryption format](https://github.com/libyal/libbde/blob/main/documentation/BitLocker%20Drive%20Encryption%20(BDE)%20format.asciidoc).

mod entries;
mod layout;
mod metadata;
mod secret;

use std::sync::Arc;

use zeroize::Zeroizing;

use super::cipher::{Cipher, IV_UNIT};
use super::decrypted::{Content, Decrypted, Segment};
use super::{Container, Sealed};
use crate::disk::ReadOnly;
use crate::length::in_memory;
use crate::{Disk, Result, ResultExt, corrupt, unsupported};
use entries::{Entry, property};
use layout::*;
use metadata::Metadata;

/// BitLocker. The volume inside is not named by a UUID, as libguestfs does.
pub(super) const CONTAINER: Container =
    Container { unprotected, ..Container::new("BitLocker", "BitLocker", probe, unlock) };

/// How often one secret is stretched at most; ours. A volume has one or two protectors of a kind.
const MAX_STRETCHES: usize = 8;

fn probe(disk: &dyn Disk) -> Result<bool> {
    Ok(metadata::kind(disk)?.is_some())
}

fn unlock(sealed: &Sealed, secret: &[u8]) -> Result<Option<Arc<dyn Disk>>> {
    open(sealed, |protectors| protectors.opened_by(secret)).within(&sealed.disk)
}

/// Where protection is suspended, the key that protects the others lies in the clear.
fn unprotected(sealed: &Sealed) -> Result<Option<Arc<dyn Disk>>> {
    let find = |protectors: &Protectors<'_>| {
        // Who has to look a recovery password up is asked for its identifier.
        log::info!("{} opens with {}", sealed.disk, protectors.names()?.join(", "));
        protectors.opened_by_anyone()
    };
    open(sealed, find).within(&sealed.disk)
}

/// A key that was opened.
type Key = Zeroizing<Vec<u8>>;

fn open(sealed: &Sealed, find: impl Fn(&Protectors<'_>) -> Result<Option<Key>>) -> Result<Option<Arc<dyn Disk>>> {
    let metadata = Metadata::read(&*sealed.disk)?;
    let (name, bits, halves) = match metadata.method {
        0x8000 => ("aes-cbc-elephant", 128, 2),
        0x8001 => ("aes-cbc-elephant", 256, 2),
        0x8002 => ("aes-cbc-eboiv", 128, 1),
        0x8003 => ("aes-cbc-eboiv", 256, 1),
        0x8004 => ("aes-xts-plain64", 128, 2),
        0x8005 => ("aes-xts-plain64", 256, 2),
        method => return Err(unsupported!("the BitLocker encryption method {method:#x} is not known")),
    };
    let entries = metadata.entries()?;
    let Some(fvek) = entries.iter().find(|entry| entry.is(ENTRY_FVEK, VALUE_AES_CCM)) else {
        return Err(corrupt!("BitLocker metadata", 0u32, "it holds no key of the volume"));
    };
    let protectors = Protectors(entries.iter().filter(|entry| entry.is(ENTRY_VMK, VALUE_VMK)).collect());
    let Some(vmk) = find(&protectors)? else { return Ok(None) };
    let Some(key) = fvek.encrypted_key(&vmk)? else {
        return Err(corrupt!("BitLocker metadata", fvek.at, "the key of the volume belongs to another master key"));
    };
    let len = bits / 8;
    // The key of the diffuser follows in the second half, whatever the length of both.
    let second = if name == "aes-cbc-elephant" { key.len() / 2 } else { len };
    let halves: Option<Vec<&[u8]>> = (0..halves).map(|half| key.get(half * second..half * second + len)).collect();
    let Some(halves) = halves.map(|halves| Zeroizing::new(halves.concat())) else {
        return Err(corrupt!(
            "BitLocker metadata",
            fvek.at,
            "a key of {} bytes for {name} with {bits} bits",
            key.len()
        ));
    };
    let cipher = Cipher::new(name, &halves, in_memory(metadata.sector_size))?.numbering_sectors();
    let segments = segments(&metadata, &Arc::new(cipher));
    let inside = Decrypted::new(&sealed.name, sealed.disk.clone(), segments)?;
    let why = format!("{inside} is a BitLocker volume: those are not written");
    Ok(Some(Arc::new(ReadOnly::new(Arc::new(inside), why))))
}

/// The volume: its start, which lies elsewhere, then all in its place, with zeros where the metadata lies.
fn segments(metadata: &Metadata, cipher: &Arc<Cipher>) -> Vec<Segment> {
    let sectors = |at: u64, len: u64| {
        let content = Content::Sectors { at, first: at / IV_UNIT, cipher: cipher.clone() };
        Segment { len, content }
    };
    let (start_at, start_len) = metadata.volume_header;
    let mut areas: Vec<(u64, u64)> = metadata.blocks.iter().map(|&at| (at, BLOCK_LEN)).collect();
    areas.push((start_at, start_len));
    areas.sort_unstable();
    let mut segments = vec![sectors(start_at, start_len)];
    let mut done = start_len;
    for (at, len) in areas {
        if at > done {
            segments.push(sectors(done, at - done));
            done = at;
        }
        // Areas may overlap where an image lies.
        let end = at + len;
        if end > done {
            segments.push(Segment { len: end - done, content: Content::Zeros });
            done = end;
        }
    }
    if metadata.size > done {
        segments.push(sectors(done, metadata.size - done));
    }
    segments
}

/// The copies of the volume master key, each encrypted in another way.
struct Protectors<'a>(Vec<&'a Entry<'a>>);

impl Protectors<'_> {
    /// The volume master key, if `secret` is a password, a recovery password or a .BEK file of the volume.
    fn opened_by(&self, secret: &[u8]) -> Result<Option<Key>> {
        let recovery = secret::recovery_password(secret);
        let startup = secret::startup_key(secret);
        let password = secret::password(secret);
        let mut stretches = 0;
        for protector in &self.0 {
            let (vmk, properties) = protector.with_properties::<Vmk>()?;
            let hash = match vmk.protection_type.get() {
                PROTECTION_PASSWORD => password.as_ref(),
                PROTECTION_RECOVERY_PASSWORD => recovery.as_ref(),
                PROTECTION_STARTUP_KEY => {
                    let Some((_, key)) = startup.as_ref().filter(|(id, _)| *id == vmk.identifier) else { continue };
                    if let Some(key) = open_protector(&properties, key)? {
                        return Ok(Some(key));
                    }
                    continue;
                }
                _ => None,
            };
            let Some(hash) = hash else { continue };
            let Some(stretch) = property(&properties, VALUE_STRETCH_KEY) else { continue };
            stretches += 1;
            if stretches > MAX_STRETCHES {
                return Err(unsupported!("more than {MAX_STRETCHES} passwords on one BitLocker volume"));
            }
            let (stretch, _) = stretch.structure::<StretchKey>()?;
            if let Some(key) = open_protector(&properties, &secret::stretch(hash, &stretch.salt)[..])? {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// What each is protected by, and its identifier.
    fn names(&self) -> Result<Vec<String>> {
        let name = |protector: &&Entry<'_>| {
            let (vmk, _) = protector.structure::<Vmk>()?;
            let name = match vmk.protection_type.get() {
                PROTECTION_CLEAR => "no key",
                PROTECTION_STARTUP_KEY => "the startup key",
                PROTECTION_RECOVERY_PASSWORD => "the recovery password",
                PROTECTION_PASSWORD => "the password",
                _ => "something else (TPM, smart card)",
            };
            Ok(format!("{name} {}", uuid::Uuid::from_bytes_le(vmk.identifier)))
        };
        self.0.iter().map(name).collect()
    }

    /// The volume master key, if its own key lies beside it.
    fn opened_by_anyone(&self) -> Result<Option<Key>> {
        for protector in &self.0 {
            let (vmk, properties) = protector.with_properties::<Vmk>()?;
            if vmk.protection_type.get() == PROTECTION_CLEAR
                && let Some(clear) = property(&properties, VALUE_KEY)
                && let Some(key) = open_protector(&properties, &clear.plain_key()?)?
            {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }
}

/// The volume master key among these properties, if `key` encrypts it.
fn open_protector(properties: &[Entry<'_>], key: &[u8]) -> Result<Option<Key>> {
    property(properties, VALUE_AES_CCM).map_or(Ok(None), |entry| entry.encrypted_key(key))
}
