//! The encryption of guest clusters: the key, and which sector has which number.

use std::sync::Arc;

use super::header::Header;
use super::layout::{CRYPT_AES, CRYPT_LUKS, CRYPT_NONE};
use crate::block_map::Encryption;
use crate::crypt::{ImageKey, ImageLock};
use crate::disk::View;
use crate::{Disk, Opener, Result, ResultExt, corrupt, unsupported};

/// The encryption of the image in `file`, or `None` if it has none. The key comes from `opener`. Metadata and compressed
/// clusters are never encrypted.
pub fn of(file: &Arc<dyn Disk>, header: &Header, opener: &dyn Opener) -> Result<Option<Encryption>> {
    match header.crypt_method {
        CRYPT_NONE => Ok(None),
        CRYPT_AES => {
            let key = opener.unlock(&ImageLock::legacy_aes(), &mut |secret| ImageKey::legacy_aes(secret).map(Some))?;
            Ok(Some(Encryption { key, by_host: false }))
        }
        CRYPT_LUKS => {
            let at = luks_header(header, file.size())?;
            let luks = View::new(format!("the LUKS header of {file}"), file.clone(), at, file.size() - at)?;
            let lock = ImageLock::luks(&luks).within(&luks)?;
            let key = opener.unlock(&lock, &mut |secret| ImageKey::luks(&luks, secret).within(&luks))?;
            Ok(Some(Encryption { key, by_host: true }))
        }
        method => Err(unsupported!("the image is encrypted by the unknown method {method}")),
    }
}

/// Where the LUKS header starts; the length in the extension is what was written, and no more than what the header
/// says of itself.
fn luks_header(header: &Header, file_size: u64) -> Result<u64> {
    let Some((at, len)) = header.crypto_header else {
        return Err(corrupt!("qcow2 header", 32u64, "encrypted with LUKS, but it does not say where the header lies"));
    };
    if !at.is_multiple_of(1 << header.cluster_bits) || at.checked_add(len).is_none_or(|end| end > file_size) {
        let why = "want a multiple of the cluster size, inside the file";
        return Err(corrupt!("encryption header", at, "{len} bytes long: {why}, which ends at byte {file_size:#x}"));
    }
    Ok(at)
}
