//! LUKS2: two headers with a sequence number each, and JSON in them.

use std::sync::Arc;

use argon2::Algorithm;
use zerocopy::FromBytes;

use super::layout::{BinaryHeader, CSUM_AT, CSUM_L, HDR_SIZES, MAGIC, MAGIC_2ND};
use super::metadata::{Digest, Kdf, Keyslot, Metadata, Number, Segment};
use super::{MAX_KEY, Slot, first_that_opens, text};
use crate::crypt::Sealed;
use crate::crypt::cipher::Cipher;
use crate::crypt::decrypted::{self, Content, Decrypted};
use crate::crypt::derivation::Derivation;
use crate::crypt::hash::Hash;
use crate::length::in_memory;
use crate::{Disk, Error, Result, corrupt, unsupported};

/// The longest value that tells the right key, in bytes: that of the longest hash function.
const MAX_DIGEST: usize = 64;
/// How many key slots, digests and segments a header may have: cryptsetup's `LUKS2_KEYSLOTS_MAX`, `LUKS2_DIGEST_MAX` and
/// `LUKS2_SEGMENT_MAX`.
const MAX_KEYSLOTS: usize = 32;
const MAX_DIGESTS: usize = 8;
const MAX_SEGMENTS: usize = 32;
/// The priority of a key slot that is not to be tried unasked.
const IGNORED: u32 = 0;
/// The priority of a key slot that says nothing.
const NORMAL: u32 = 1;

pub(super) fn unlock(sealed: &Sealed, secret: &[u8]) -> Result<Option<Arc<dyn Disk>>> {
    let header = sealed.header().as_ref();
    let metadata = newest(header)?;
    refuse_requirements(&metadata)?;
    let segments = segments(&metadata)?;
    let mut slots: Vec<(&Keyslot, &Digest)> = metadata
        .keyslots
        .iter()
        .filter(|(_, slot)| priority(slot) != IGNORED)
        // A key that belongs to no segment is kept in the header for somebody else.
        .filter_map(|(number, slot)| Some((slot, digest_of(&metadata, *number)?)))
        .collect();
    slots.sort_by_key(|(slot, _)| std::cmp::Reverse(priority(slot)));
    let read = slots.iter().map(|(slot, digest)| {
        check_digest(digest)?;
        let read = read_slot(slot)?;
        check_key_size(&segments, digest, &read)?;
        Ok(read)
    });
    let opened = first_that_opens(read, header, secret, |index, key, work| {
        let digest = slots[index].1;
        let wanted = &digest.digest.0;
        let mut value = [0; MAX_DIGEST];
        let value = &mut value[..wanted.len()];
        let derivation = Derivation::Pbkdf2 { hash: Hash::named(&digest.hash)?, iterations: digest.iterations };
        derivation.derive(key, &digest.salt.0, value, work)?;
        match value == wanted.as_slice() {
            true => open_segments(sealed, &segments, digest, key).map(Some),
            false => Ok(None),
        }
    })?;
    opened.map(|segments| Ok(Arc::new(Decrypted::new(&sealed.name, sealed.disk.clone(), segments)?) as _)).transpose()
}

/// The digest that tells whether the key in slot `number` is right, if that is the key of a segment.
fn digest_of(metadata: &Metadata, number: Number) -> Option<&Digest> {
    let mut digests = metadata.digests.values();
    digests.find(|digest| digest.keyslots.contains(&number)).filter(|digest| !digest.segments.is_empty())
}

/// Fails if `digest` could accept no key: before one is derived for it.
fn check_digest(digest: &Digest) -> Result<()> {
    let wanted = &digest.digest.0;
    if digest.kind != "pbkdf2" || wanted.is_empty() || wanted.len() > MAX_DIGEST {
        return Err(unsupported!("a digest of type {}, {} bytes long", digest.kind.escape_debug(), wanted.len()));
    }
    Hash::named(&digest.hash).map(drop)
}

/// Fails if the key in `slot` could not be that of the segments of `digest`: it is of another size.
fn check_key_size(segments: &[(Number, &Segment)], digest: &Digest, slot: &Slot) -> Result<()> {
    // Of a size that no key has the slot itself tells.
    if slot.key_size == 0 || slot.key_size > MAX_KEY {
        return Ok(());
    }
    let key = vec![0; slot.key_size];
    let mut of_digest = segments.iter().filter(|(number, _)| digest.segments.contains(number));
    of_digest.try_for_each(|(_, segment)| {
        let encryption = segment.encryption.as_deref().unwrap_or_default();
        Cipher::new(encryption, &key, sector_size(segment) as usize).map(drop)
    })
}

fn priority(slot: &Keyslot) -> u32 {
    slot.priority.unwrap_or(NORMAL)
}

/// The metadata of the header with the higher sequence number, of those whose checksum is right.
fn newest(disk: &dyn Disk) -> Result<Metadata> {
    let first = read_header(disk, 0, MAGIC);
    let second = HDR_SIZES.iter().find_map(|&at| read_header(disk, at, MAGIC_2ND).ok());
    let json = match (first, second) {
        (Ok(first), Some(second)) if second.0 > first.0 => second.1,
        (Ok(first), _) => first.1,
        (Err(_), Some(second)) => second.1,
        (Err(error), None) => return Err(error),
    };
    let json = json.split(|byte| *byte == 0).next().unwrap_or_default();
    let at = size_of::<BinaryHeader>() as u64;
    // The parser quotes words of the image.
    let metadata: Metadata = serde_json::from_slice(json)
        .map_err(|error| corrupt!("LUKS2 metadata", at, "{}", error.to_string().escape_debug()))?;
    for (what, count, most) in [
        ("key slots", metadata.keyslots.len(), MAX_KEYSLOTS),
        ("digests", metadata.digests.len(), MAX_DIGESTS),
        ("segments", metadata.segments.len(), MAX_SEGMENTS),
    ] {
        if count > most {
            return Err(corrupt!("LUKS2 metadata", at, "{count} {what}, {most} are the most"));
        }
    }
    Ok(metadata)
}

/// The sequence number and the JSON area of the header at `at`, if its checksum is right.
fn read_header(disk: &dyn Disk, at: u64, magic: [u8; 6]) -> Result<(u64, Vec<u8>)> {
    let bad = |why: String| Err(Error::Corrupt { what: "LUKS2 header".into(), offset: at, why });
    let mut start = [0; size_of::<BinaryHeader>()];
    disk.read_at(&mut start, at)?;
    let binary = BinaryHeader::ref_from_bytes(&start).expect("the length is the header's");
    let (size, seqid) = (binary.hdr_size.get(), binary.seqid.get());
    if binary.magic != magic || binary.version.get() != 2 {
        return bad("its magic or version is wrong".to_owned());
    }
    if !HDR_SIZES.contains(&size) || binary.hdr_offset.get() != at {
        return bad(format!(
            "{size} bytes for offset {:#x}, want a power of two between 16 KiB and 4 MiB, here",
            binary.hdr_offset
        ));
    }
    let hash = Hash::named(&text(&binary.csum_alg))?;
    let mut json = vec![0; in_memory(size) - start.len()];
    disk.read_at(&mut json, at + start.len() as u64)?;
    let wanted = binary.csum;
    start[CSUM_AT..][..CSUM_L].fill(0);
    if *hash.of(&[&start, &json]) != wanted[..hash.len()] {
        return bad("its checksum is wrong".to_owned());
    }
    Ok((seqid, json))
}

fn refuse_requirements(metadata: &Metadata) -> Result<()> {
    let mandatory = metadata.config.requirements.as_ref().map(|all| all.mandatory.as_slice()).unwrap_or_default();
    match mandatory.iter().find(|name| name.starts_with("online-reencrypt")).or(mandatory.first()) {
        Some(name) if name.starts_with("online-reencrypt") => Err(unsupported!(
            "a reencryption is in progress ({}), which is not read; let cryptsetup reencrypt --resume-only finish it",
            name.escape_debug()
        )),
        Some(name) => Err(unsupported!("it requires {}, which is not known", name.escape_debug())),
        None => Ok(()),
    }
}

/// The segments that make up the disk inside, in their order; all of them of a kind that is read.
fn segments(metadata: &Metadata) -> Result<Vec<(Number, &Segment)>> {
    let backup = |segment: &Segment| segment.flags.iter().any(|flag| flag.starts_with("backup-"));
    let all: Vec<_> = metadata
        .segments
        .iter()
        .filter(|(_, segment)| !backup(segment))
        .map(|(number, segment)| (*number, segment))
        .collect();
    for (Number(number), segment) in &all {
        if segment.integrity.is_some() {
            return Err(unsupported!("segment {number} has integrity protection, which is not read"));
        }
        if segment.kind != "crypt" {
            return Err(unsupported!("segment {number} is of type {}, which is not read", segment.kind.escape_debug()));
        }
        if !matches!(sector_size(segment), 512 | 1024 | 2048 | 4096) {
            return Err(unsupported!(
                "segment {number} has sectors of {} bytes, want 512 to 4096",
                sector_size(segment)
            ));
        }
    }
    Ok(all)
}

fn sector_size(segment: &Segment) -> u32 {
    segment.sector_size.unwrap_or(512)
}

fn read_slot(slot: &Keyslot) -> Result<Slot> {
    let refused = |what: &str| unsupported!("a key slot of type {} {what}", slot.kind.escape_debug());
    let (Some(kdf), Some(af), Some(encryption)) = (&slot.kdf, &slot.af, &slot.area.encryption) else {
        return Err(refused("without a passphrase"));
    };
    if slot.kind != "luks2" || slot.area.kind != "raw" || af.kind != "luks1" {
        return Err(refused("that is not read"));
    }
    let (derivation, salt) = match kdf {
        Kdf::Pbkdf2 { hash, iterations, salt } => {
            (Derivation::Pbkdf2 { hash: Hash::named(hash)?, iterations: *iterations }, salt)
        }
        Kdf::Argon2i { time, memory, cpus, salt } => (argon2(Algorithm::Argon2i, (*time, *memory, *cpus)), salt),
        Kdf::Argon2id { time, memory, cpus, salt } => (argon2(Algorithm::Argon2id, (*time, *memory, *cpus)), salt),
        Kdf::Unknown => return Err(refused("with a key derivation that is not known")),
    };
    let needed = u64::from(slot.key_size).saturating_mul(af.stripes.into());
    if needed > slot.area.size.0 {
        let (at, size) = (slot.area.offset.0, slot.area.size.0);
        return Err(corrupt!("key slot", at, "an area of {size} bytes for {needed} bytes"));
    }
    Ok(Slot {
        derivation,
        salt: salt.0.clone(),
        cipher: encryption.clone(),
        cipher_key_size: slot.area.key_size.unwrap_or(slot.key_size) as usize,
        at: slot.area.offset.0,
        key_size: slot.key_size as usize,
        stripes: af.stripes,
        hash: Hash::named(&af.hash)?,
    })
}

fn argon2(algorithm: Algorithm, (passes, memory, lanes): (u32, u32, u32)) -> Derivation {
    Derivation::Argon2 { algorithm, passes, memory, lanes }
}

/// All segments, with `key`, which `digest` has accepted.
fn open_segments(
    sealed: &Sealed,
    segments: &[(Number, &Segment)],
    digest: &Digest,
    key: &[u8],
) -> Result<Vec<decrypted::Segment>> {
    let one = |(number, segment): &(Number, &Segment)| {
        if !digest.segments.contains(number) {
            return Err(unsupported!("segment {} has another key than the rest", number.0));
        }
        let (at, sector_size) = (segment.offset.0, sector_size(segment));
        let encryption = segment.encryption.as_deref().unwrap_or_default();
        let size = match segment.size.as_str() {
            "dynamic" => {
                sealed.disk.size().checked_sub(at).map(|len| len / u64::from(sector_size) * u64::from(sector_size))
            }
            size => size.parse().ok(),
        };
        let len = size.ok_or_else(|| corrupt!("segment", at, "its size is {}", segment.size.escape_debug()))?;
        let cipher = Cipher::new(encryption, key, sector_size as usize)?;
        let (first, cipher) = (segment.iv_tweak.map_or(0, |tweak| tweak.0), Arc::new(cipher));
        Ok(decrypted::Segment { len, content: Content::Sectors { at, first, cipher } })
    };
    segments.iter().map(one).collect()
}
