//! A volume's cipher by the name that dm-crypt has for it: `aes-xts-plain64`, `serpent-cbc-essiv:sha256`.
//!
//! Names: [dm-crypt](https://docs.kernel.org/admin-guide/device-mapper/dm-crypt.html), "cipher".

use aes::{Aes128, Aes192, Aes256};
use cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit, consts::U16};
use serpent::Serpent;
use twofish::Twofish;

use super::cbc::Cbc;
use super::elephant::Elephant;
use super::hash::Hash;
use super::mode::{BLOCK, Mode, OneBlock};
use super::xts::Xts;
use crate::{Result, unsupported};

/// The unit in which sectors are counted for their initialisation vectors, in bytes, whatever the size of the sectors.
pub(super) const IV_UNIT: u64 = SECTOR as u64;
/// The smallest sector, in bytes: what images and LUKS 1 encrypt by.
pub(super) const SECTOR: usize = 512;

/// Where the initialisation vector of a sector comes from.
enum Vector {
    /// The sector's number in this many bytes, little-endian.
    Plain(usize),
    /// The sector's number in 64 bits, big-endian, at the end.
    Plain64BigEndian,
    /// The number, encrypted with the hash of the key.
    Essiv(Box<dyn OneBlock>),
    /// The sector's first byte on the volume, encrypted with the key itself: BitLocker's.
    Eboiv(Box<dyn OneBlock>),
}

struct Single<C>(C);

impl<C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + Send + Sync> OneBlock for Single<C> {
    fn encrypt(&self, block: &mut [u8; BLOCK]) {
        let mut whole = Array::from(*block);
        self.0.encrypt_block(&mut whole);
        *block = whole.0;
    }
}

/// Decrypts the sectors of one volume.
pub(super) struct Cipher {
    mode: Box<dyn Mode>,
    vector: Vector,
    diffuser: Option<Elephant>,
    sector_size: usize,
    /// How many bytes one number of a sector stands for.
    unit: u64,
}

impl Cipher {
    /// The cipher that dm-crypt calls `name`, with this key, for sectors of `sector_size` bytes (a power of two, at
    /// least 512).
    ///
    /// Fails with `Unsupported`, and the name, if there is no such cipher here.
    pub(super) fn new(name: &str, key: &[u8], sector_size: usize) -> Result<Self> {
        let unknown = || unsupported!("the cipher {} is not read", name.escape_debug());
        let mut words = name.splitn(3, '-');
        let (algorithm, mode) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        // The first versions of LUKS left mode and vector out.
        let mode_name = if mode.is_empty() { "cbc" } else { mode };
        let vector = words.next().unwrap_or("plain");
        if algorithm == "cipher_null" {
            return Err(unsupported!(
                "the cipher {name} does not encrypt: such a volume protects nothing, and is refused"
            ));
        }
        let elephant = (mode_name, vector) == ("cbc", "elephant");
        let halves = if mode_name == "xts" || elephant { 2 } else { 1 };
        let bits = key.len() / halves * 8;
        // The second half is the key of the diffuser.
        let (key, tweak) = if elephant { key.split_at(key.len() / 2) } else { (key, &[][..]) };
        let mode = match (algorithm, bits) {
            ("aes", 128) => new_mode::<Aes128>(mode_name, key)?,
            ("aes", 192) => new_mode::<Aes192>(mode_name, key)?,
            ("aes", 256) => new_mode::<Aes256>(mode_name, key)?,
            ("serpent", 128 | 192 | 256) => new_mode::<Serpent>(mode_name, key)?,
            ("twofish", 128 | 192 | 256) => new_mode::<Twofish>(mode_name, key)?,
            ("aes" | "serpent" | "twofish", _) => {
                return Err(unsupported!("the cipher {} with a key of {} bits", name.escape_debug(), key.len() * 8));
            }
            _ => None,
        }
        .ok_or_else(unknown)?;
        let vector = match vector.split_once(':') {
            None if vector == "plain" => Vector::Plain(4),
            None if vector == "plain64" => Vector::Plain(8),
            None if vector == "plain64be" => Vector::Plain64BigEndian,
            None if matches!(vector, "eboiv" | "elephant") && mode_name == "cbc" => {
                Vector::Eboiv(one_block(algorithm, key).ok_or_else(unknown)?)
            }
            Some(("essiv", hash)) => {
                let key = Hash::named(hash)?.of(&[key]);
                Vector::Essiv(one_block(algorithm, &key).ok_or_else(unknown)?)
            }
            _ => return Err(unknown()),
        };
        let diffuser = match elephant {
            true => Some(Elephant::new(one_block(algorithm, tweak).ok_or_else(unknown)?)),
            false => None,
        };
        Ok(Self { mode, vector, diffuser, sector_size, unit: IV_UNIT })
    }

    /// The same, with sectors that are numbered one by one whatever their size; dm-crypt's `iv_large_sectors`.
    pub(super) fn numbering_sectors(self) -> Self {
        Self { unit: self.sector_size as u64, ..self }
    }

    /// The size of a sector in bytes.
    pub(super) fn sector_size(&self) -> usize {
        self.sector_size
    }

    /// Decrypts whole sectors in place; the first has the number `first`, in units of 512 bytes.
    pub(super) fn decrypt(&self, data: &mut [u8], first: u64) {
        self.mode.decrypt(data, self.sector_size, &mut self.ivs(first));
        if let Some(diffuser) = &self.diffuser {
            let mut offset = first.wrapping_mul(IV_UNIT);
            for sector in data.chunks_mut(self.sector_size) {
                diffuser.undo(sector, offset);
                offset = offset.wrapping_add(self.sector_size as u64);
            }
        }
    }

    /// Whether [`Self::encrypt`] works: not for the diffuser of old BitLocker volumes, which is only undone.
    pub(super) fn encrypts(&self) -> bool {
        self.diffuser.is_none()
    }

    /// Encrypts whole sectors in place, as [`Self::decrypt`] decrypts them. Only a cipher that [`encrypts`](Self::encrypts) does.
    pub(super) fn encrypt(&self, data: &mut [u8], first: u64) {
        assert!(self.encrypts(), "who writes has asked");
        self.mode.encrypt(data, self.sector_size, &mut self.ivs(first));
    }

    /// The vectors of consecutive sectors, of which the first has the number `first`.
    fn ivs(&self, first: u64) -> impl Iterator<Item = [u8; BLOCK]> {
        let step = self.sector_size as u64 / self.unit;
        let mut number = first / (self.unit / IV_UNIT);
        std::iter::from_fn(move || {
            let iv = self.iv(number);
            number = number.wrapping_add(step);
            Some(iv)
        })
    }

    fn iv(&self, sector: u64) -> [u8; BLOCK] {
        let mut iv = [0; BLOCK];
        match &self.vector {
            Vector::Plain(len) => iv[..*len].copy_from_slice(&sector.to_le_bytes()[..*len]),
            Vector::Plain64BigEndian => iv[BLOCK - 8..].copy_from_slice(&sector.to_be_bytes()),
            Vector::Eboiv(cipher) => {
                iv[..8].copy_from_slice(&sector.wrapping_mul(self.unit).to_le_bytes());
                cipher.encrypt(&mut iv);
            }
            Vector::Essiv(cipher) => {
                iv[..8].copy_from_slice(&sector.to_le_bytes());
                cipher.encrypt(&mut iv);
            }
        }
        iv
    }
}

/// The mode of this name, or `None` if it is unknown.
fn new_mode<C>(mode: &str, key: &[u8]) -> Result<Option<Box<dyn Mode>>>
where
    C: BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + KeyInit + Send + Sync + 'static,
{
    Ok(match mode {
        "xts" => Some(Box::new(Xts::<C>::new(key)?)),
        "cbc" => Some(Box::new(Cbc::<C>::new(key)?)),
        _ => None,
    })
}

/// The cipher of this name with a key of this length, or `None` if there is none.
fn one_block(algorithm: &str, key: &[u8]) -> Option<Box<dyn OneBlock>> {
    fn single<C>(key: &[u8]) -> Option<Box<dyn OneBlock>>
    where
        C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + KeyInit + Send + Sync + 'static,
    {
        Some(Box::new(Single(C::new_from_slice(key).ok()?)))
    }
    match (algorithm, key.len()) {
        ("aes", 16) => single::<Aes128>(key),
        ("aes", 24) => single::<Aes192>(key),
        ("aes", 32) => single::<Aes256>(key),
        ("serpent", 16..=32) => single::<Serpent>(key),
        ("twofish", 16 | 24 | 32) => single::<Twofish>(key),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vector 2 of IEEE 1619-2007, annex B: the data unit 0x3333333333.
    #[test]
    fn xts_has_the_standards_answer() {
        let key = [[0x11; 16], [0x22; 16]].concat();
        let mut data = [0; 512];
        let cipher = [
            0xc4, 0x54, 0x18, 0x5e, 0x6a, 0x16, 0x93, 0x6e, 0x39, 0x33, 0x40, 0x38, 0xac, 0xef, 0x83, 0x8b, 0xfb, 0x18,
            0x6f, 0xff, 0x74, 0x80, 0xad, 0xc4, 0x28, 0x93, 0x82, 0xec, 0xd6, 0xd3, 0x94, 0xf0,
        ];
        data[..32].copy_from_slice(&cipher);
        let xts = Cipher::new("aes-xts-plain64", &key, 512).unwrap();
        xts.decrypt(&mut data, 0x33_3333_3333);
        assert_eq!(data[..32], [0x44; 32]);
        xts.encrypt(&mut data, 0x33_3333_3333);
        assert_eq!(data[..32], cipher);
    }

    #[test]
    fn what_is_encrypted_is_decrypted_again() {
        let names = ["aes-xts-plain64", "serpent-xts-plain64", "aes-cbc-essiv:sha256", "twofish-cbc-plain"];
        let names = names.into_iter().chain(["aes-cbc-plain64be", "aes-cbc-eboiv"]);
        let plain: Vec<u8> = (0..20 * 4096).map(|at| (at * 7 / 3) as u8).collect();
        for (name, sector) in names.flat_map(|name| [512, 1024, 4096].map(|sector| (name, sector))) {
            let cipher = Cipher::new(name, &[[7; 16], [9; 16]].concat(), sector).unwrap();
            for cipher in [cipher, Cipher::new(name, &[[7; 16], [9; 16]].concat(), sector).unwrap().numbering_sectors()]
            {
                let mut data = plain.clone();
                cipher.encrypt(&mut data, 88);
                assert!(data.chunks(16).zip(plain.chunks(16)).all(|(new, old)| new != old), "{name}");
                // Each sector for itself, as together.
                for (index, sector_data) in data.chunks_mut(sector).enumerate() {
                    cipher.decrypt(sector_data, 88 + (index * sector / 512) as u64);
                }
                assert!(data == plain, "{name}, {sector}");
            }
        }
    }

    #[test]
    fn ciphers_that_are_not_read_are_named() {
        let refused = |name: &str, key: usize| Cipher::new(name, &vec![1; key], 512).err().unwrap().to_string();
        assert!(refused("xchacha12,aes-adiantum-plain64", 32).contains("adiantum"));
        assert!(refused("aes-lrw-benbi", 32).contains("aes-lrw-benbi"));
        assert!(refused("aes-cbc-random", 32).contains("aes-cbc-random"));
        assert!(refused("aes-cbc-essiv:md9", 32).contains("md9"));
        assert!(refused("aes-cbc-essiv:sha512", 32).contains("essiv:sha512"));
        assert!(refused("cipher_null-ecb", 32).contains("protects nothing"));
        assert!(refused("aes-cbc-elephant", 33).contains("aes-cbc-elephant"));
        assert!(refused("aes-xts-plain64", 33).contains("264 bits"));
        assert!(refused("aes-xts-plain64", 0).contains("0 bits"));
        for key in [32, 48, 64] {
            assert!(Cipher::new("aes-xts-plain64", &vec![1; key], 512).is_ok(), "{key}");
        }
        assert!(Cipher::new("aes", &[1; 16], 512).is_ok(), "the oldest headers");
    }
}
