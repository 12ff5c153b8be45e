//! The JSON area of LUKS2: [specification](https://gitlab.com/cryptsetup/LUKS2-docs), chapter 3.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de::Error as _};

/// The whole area. Objects are kept under their numbers; tokens are not needed.
#[derive(Deserialize)]
pub(super) struct Metadata {
    pub(super) keyslots: BTreeMap<Number, Keyslot>,
    pub(super) segments: BTreeMap<Number, Segment>,
    pub(super) digests: BTreeMap<Number, Digest>,
    pub(super) config: Config,
}

/// An object's name, or a number that is too large for JSON: decimal, in a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Number(pub(super) u64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| digits);
        number.map(Self).ok_or_else(|| D::Error::custom("a decimal number below 2^64 is wanted in a string"))
    }
}

/// Bytes in Base64.
pub(super) struct Bytes(pub(super) Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        use base64ct::{Base64, Encoding};
        let text = String::deserialize(from)?;
        Base64::decode_vec(&text).map(Self).map_err(|_| D::Error::custom("Base64 is wanted"))
    }
}

/// A key that is kept, and how.
#[derive(Deserialize)]
pub(super) struct Keyslot {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) key_size: u32,
    /// 0 to be left alone, 1 normal, 2 to be tried first.
    pub(super) priority: Option<u32>,
    pub(super) area: Area,
    pub(super) kdf: Option<Kdf>,
    pub(super) af: Option<Af>,
}

/// Where a key slot's material lies.
#[derive(Deserialize)]
pub(super) struct Area {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) offset: Number,
    pub(super) size: Number,
    pub(super) encryption: Option<String>,
    pub(super) key_size: Option<u32>,
}

/// How the passphrase becomes the key of the area.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Kdf {
    Pbkdf2 {
        hash: String,
        iterations: u32,
        salt: Bytes,
    },
    Argon2i {
        time: u32,
        memory: u32,
        cpus: u32,
        salt: Bytes,
    },
    Argon2id {
        time: u32,
        memory: u32,
        cpus: u32,
        salt: Bytes,
    },
    /// One that is not known keeps only its own slot from being tried.
    #[serde(other)]
    Unknown,
}

/// How the key is spread over the area.
#[derive(Deserialize)]
pub(super) struct Af {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) stripes: u32,
    pub(super) hash: String,
}

/// A run of the disk inside.
#[derive(Deserialize)]
pub(super) struct Segment {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) offset: Number,
    /// `dynamic`, or a number.
    pub(super) size: String,
    pub(super) iv_tweak: Option<Number>,
    pub(super) encryption: Option<String>,
    pub(super) sector_size: Option<u32>,
    pub(super) integrity: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    pub(super) flags: Vec<String>,
}

/// What tells the right key for some segments.
#[derive(Deserialize)]
pub(super) struct Digest {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) keyslots: Vec<Number>,
    pub(super) segments: Vec<Number>,
    pub(super) hash: String,
    pub(super) iterations: u32,
    pub(super) salt: Bytes,
    pub(super) digest: Bytes,
}

/// What holds for the whole volume.
#[derive(Deserialize)]
pub(super) struct Config {
    pub(super) requirements: Option<Requirements>,
}

/// What a program must know to open the volume.
#[derive(Deserialize)]
pub(super) struct Requirements {
    #[serde(default)]
    pub(super) mandatory: Vec<String>,
}
