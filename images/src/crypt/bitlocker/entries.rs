//! The entries of which BitLocker's metadata consists: each with a type and data, some with entries inside.

use aes::Aes256;
use cipher::KeyInit;
use zerocopy::FromBytes;
use zeroize::Zeroizing;

use super::layout::*;
use crate::crypt::ccm;
use crate::{Result, corrupt};

/// The longest key that is kept, in bytes: two of 256 bits, in 512.
const MAX_KEY: usize = 64;

/// One entry.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) entry_type: u16,
    pub(super) value_type: u16,
    pub(super) data: &'a [u8],
    /// Where the entry lies, in bytes.
    pub(super) at: u64,
}

/// The entries in `bytes`, which lie at `at`; they end where one of no length is. Fails if one reaches past the end.
pub(super) fn entries(mut bytes: &[u8], mut at: u64) -> Result<Vec<Entry<'_>>> {
    let mut found = Vec::new();
    while let Ok((header, _)) = EntryHeader::read_from_prefix(bytes) {
        let size = usize::from(header.size.get());
        if size == 0 {
            break;
        }
        if size < size_of::<EntryHeader>() || size > bytes.len() {
            return Err(corrupt!("metadata entry", at, "{size} bytes long, with {} left", bytes.len()));
        }
        let (entry, rest) = bytes.split_at(size);
        let (entry_type, value_type) = (header.entry_type.get(), header.value_type.get());
        found.push(Entry { entry_type, value_type, data: &entry[size_of::<EntryHeader>()..], at });
        (bytes, at) = (rest, at + size as u64);
    }
    Ok(found)
}

impl<'a> Entry<'a> {
    /// Whether it has these types.
    pub(super) fn is(&self, entry_type: u16, value_type: u16) -> bool {
        (self.entry_type, self.value_type) == (entry_type, value_type)
    }

    /// The structure that its data begins with, and the rest of the data.
    pub(super) fn structure<T: FromBytes>(&self) -> Result<(T, &'a [u8])> {
        let len = self.data.len();
        T::read_from_prefix(self.data)
            .map_err(|_| corrupt!("metadata entry", self.at, "{len} bytes of data, want at least {}", size_of::<T>()))
    }

    /// That structure, and the property of this type among the entries that follow it.
    pub(super) fn with_properties<T: FromBytes>(&self) -> Result<(T, Vec<Entry<'a>>)> {
        let (structure, rest) = self.structure()?;
        let properties = entries(rest, self.at + (size_of::<EntryHeader>() + size_of::<T>()) as u64)?;
        Ok((structure, properties))
    }

    /// The key in an entry of type [`VALUE_KEY`].
    pub(super) fn plain_key(&self) -> Result<Zeroizing<Vec<u8>>> {
        match self.data.get(KEY_METHOD_LEN..) {
            Some(key) if !key.is_empty() && key.len() <= MAX_KEY => Ok(Zeroizing::new(key.to_vec())),
            _ => Err(corrupt!("key entry", self.at, "{} bytes of data", self.data.len())),
        }
    }

    /// The key in an entry of type [`VALUE_AES_CCM`] if `key` encrypts it.
    pub(super) fn encrypted_key(&self, key: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let (ccm, encrypted) = self.structure::<AesCcm>()?;
        if encrypted.len() <= size_of::<KeyContainer>() || encrypted.len() > size_of::<KeyContainer>() + MAX_KEY {
            return Err(corrupt!("encrypted key", self.at, "{} bytes long", encrypted.len()));
        }
        let Ok(cipher) = Aes256::new_from_slice(key) else { return Ok(None) };
        let mut message = Zeroizing::new(encrypted.to_vec());
        if !ccm::decrypt(&cipher, &ccm.nonce, &ccm.message_authentication_code, &mut message) {
            return Ok(None);
        }
        Ok(Some(Zeroizing::new(message[size_of::<KeyContainer>()..].to_vec())))
    }
}

/// The first property of this type.
pub(super) fn property<'a, 'b>(properties: &'b [Entry<'a>], value_type: u16) -> Option<&'b Entry<'a>> {
    properties.iter().find(|entry| entry.is(ENTRY_PROPERTY, value_type))
}
