//! BitLocker metadata that lies: an answer in bounded time and memory, and never a panic.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use images::crypt::recognise;
use images::disk::View;
use images::{Data, Disk, Extent, Properties, Result, Writer, read_only};

use super::bitlocker::{PASSWORD, sealed, unlock, volume};

/// Where the copies of the metadata lie in the volume that is changed here.
const BLOCKS: [usize; 3] = [35_213_312, 46_256_128, 57_909_248];
/// Where in a block what the tests change lies: headers and entries.
const SIZE: usize = 8;
const STATE: usize = 12;
const ENCRYPTED_SIZE: usize = 16;
const METADATA_SIZE: usize = 64;
const METHOD: usize = 64 + 36;
const ENTRIES: usize = 64 + 48;

/// The volume, and the first copy of its metadata as a whole.
static WHOLE: LazyLock<(Arc<dyn Disk>, Vec<u8>)> = LazyLock::new(|| {
    let disk = volume("aes-xts-256");
    let mut block = vec![0; 65_536];
    disk.read_at(&mut block, BLOCKS[0] as u64).unwrap();
    (disk, block)
});

/// The volume with some bytes replaced.
struct Patched(Vec<(usize, Vec<u8>)>);

impl fmt::Display for Patched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("volume")
    }
}

impl Disk for Patched {
    fn size(&self) -> u64 {
        WHOLE.0.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        WHOLE.0.read_at(buf, offset)?;
        for (at, bytes) in &self.0 {
            for (byte, at) in bytes.iter().zip(*at as u64..) {
                if let Some(there) = at.checked_sub(offset).and_then(|inside| buf.get_mut(inside as usize)) {
                    *there = *byte;
                }
            }
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        Ok(Extent { len: self.size() - offset, data: Data::Opaque })
    }

    fn properties(&self) -> Properties {
        WHOLE.0.properties()
    }

    fn writer(&self, _: Range<u64>) -> Result<Writer> {
        Err(read_only!("{self} is patched"))
    }
}

/// The length of the checked part of a block.
fn checked(block: &[u8]) -> usize {
    usize::from(u16::from_le_bytes([block[SIZE], block[SIZE + 1]])) * 16
}

/// The volume with this in place of all copies of its metadata, and the right checksum after it.
fn with_block(mut block: Vec<u8>) -> Arc<dyn Disk> {
    let validation = WHOLE.1[checked(&WHOLE.1)..][..4].to_vec();
    let len = checked(&block).min(block.len() - 8);
    let crc = crc32fast::hash(&block[..len]);
    block[len..][..4].copy_from_slice(&validation);
    block[len + 4..][..4].copy_from_slice(&crc.to_le_bytes());
    Arc::new(Patched(BLOCKS.iter().map(|&at| (at, block.clone())).collect()))
}

/// The volume with these bytes changed in all copies of its metadata.
fn patched(patches: &[(usize, &[u8])]) -> Arc<dyn Disk> {
    let mut block = WHOLE.1.clone();
    for (at, value) in patches {
        block[*at..][..value.len()].copy_from_slice(value);
    }
    with_block(block)
}

/// What is said of these bytes, or nothing if the password opens them; within a time that no honest header needs.
#[track_caller]
fn answers(disk: Arc<dyn Disk>, what: &str) -> Option<String> {
    let since = Instant::now();
    let answer = answer(disk);
    assert!(since.elapsed() < Duration::from_secs(60), "{what}: {:?}", since.elapsed());
    answer
}

fn answer(disk: Arc<dyn Disk>) -> Option<String> {
    let Some(container) = recognise(&*disk).unwrap() else { return Some("not recognised".to_owned()) };
    let tried: Result<_> = (container.unprotected)(&sealed(disk.clone()));
    match tried.and_then(|_| unlock(disk, PASSWORD)) {
        Ok(Some(inside)) => {
            let mut at = 0;
            let mut buf = vec![0; 100_000];
            while at < inside.size() {
                let len = buf.len().min((inside.size() - at) as usize);
                let _ = inside.read_at(&mut buf[..len], at);
                assert!(inside.extent_at(at).unwrap().len > 0);
                at += inside.size() / 13 + 1;
            }
            None
        }
        Ok(None) => Some("wrong key".to_owned()),
        Err(error) => Some(error.to_string()),
    }
}

/// Where the entry of this type begins in a block, and where its data.
fn entry(kind: u16) -> usize {
    let block = &WHOLE.1;
    let mut at = ENTRIES;
    loop {
        let field = |field: usize| u16::from_le_bytes([block[at + 2 * field], block[at + 2 * field + 1]]);
        assert!(field(0) != 0, "there is no entry of type {kind}");
        if field(1) == kind {
            return at;
        }
        at += usize::from(field(0));
    }
}

#[test]
fn fields_that_lie() {
    assert_eq!(answers(patched(&[]), "untouched"), None);
    let (vmk, fvek, header) = (entry(2), entry(3), entry(15));
    let many = &[0xff; 8];
    let cases: &[(&str, usize, &[u8], &str)] = &[
        ("a block of 1 MiB", SIZE, &many[..2], "bytes long, want at least"),
        ("a block of next to nothing", SIZE, &[5, 0], "80 bytes long"),
        ("version 1", SIZE + 2, &[1, 0], "metadata of version 1"),
        ("version 7", SIZE + 2, &[7, 0], "metadata of version 7"),
        ("no signature", 0, b"-EVE-", "signature"),
        ("decrypting", STATE, &[5, 0, 1, 0], "state 5, then 1"),
        ("a volume of 2^64 bytes", ENCRYPTED_SIZE, many, "truncated"),
        ("a volume of no bytes", ENCRYPTED_SIZE, &[0; 8], "on a volume of 0"),
        ("metadata of 4 GiB", METADATA_SIZE, &many[..4], "4294967295 bytes long"),
        ("metadata of no bytes", METADATA_SIZE, &[0; 4], "0 bytes long"),
        ("metadata of version 2", METADATA_SIZE + 4, &[2], "version 2"),
        ("an unknown method", METHOD, &[9, 0x80], "0x8009"),
        ("another cipher", METHOD, &[4, 0x80], ""),
        ("a diffuser without its key", METHOD, &[1, 0x80], ""),
        ("an entry of 7 bytes", ENTRIES, &[7, 0], "7 bytes long"),
        ("an entry past the end", ENTRIES, &many[..2], "65535 bytes long"),
        ("no entries", ENTRIES, &[0; 2], "no key of the volume"),
        ("a master key that is cut short", vmk, &[20, 0], ""),
        ("an entry inside that is past the end", vmk + 8 + 28, &many[..2], "65535 bytes long"),
        ("a volume key of another kind", fvek + 2, &many[..2], "no key of the volume"),
        ("a volume key that was changed", fvek + 50, &[0xaa], "another master key"),
        ("the start of the volume past its end", header + 8, many, "an area of"),
        ("the start of the volume without end", header + 16, many, "overlaps the start"),
        ("a start of no bytes", header + 16, &[0; 8], "an area of 0"),
        ("a start that is no whole sector", header + 16, &[1], "an area of 8193"),
        ("a start that lies in itself", header + 8, &[0; 8], "overlaps the start"),
        ("a block in the start", 32, &[0; 8], "overlaps the start"),
        ("a block past the end", 40, many, "an area of 65536"),
        ("a block that is no whole sector", 48, &[1], "an area of 65536"),
    ];
    for (what, at, value, want) in cases {
        let got = answers(patched(&[(*at, value)]), what).unwrap_or_default();
        assert!(got.contains(want) && (want.is_empty() || !got.is_empty()), "{what}: {got}");
    }
    // Areas that overlap each other are not the volume's concern: all of it is hidden.
    assert_eq!(answers(patched(&[(32, &46_256_128u64.to_le_bytes())]), "two blocks in one place"), None);
    assert_eq!(answers(patched(&[(32, &46_288_896u64.to_le_bytes())]), "two blocks that overlap"), None);
}

#[test]
fn the_volume_header() {
    let put = |at: usize, value: &[u8]| Arc::new(Patched(vec![(at, value.to_vec())]));
    for (what, at, value, want) in [
        ("an unknown identifier", 160, &[1; 16][..], "unknown kind"),
        ("sectors of no bytes", 11, &[0; 2], "sectors of 0"),
        ("sectors of 64 KiB", 11, &[0xff; 2], "sectors of 65535"),
        ("odd sectors", 11, &[1, 2], "sectors of 513"),
        ("blocks past the end", 176, &[0xff; 24], "lies past the end"),
        ("blocks that are none", 176, &[0; 24], "checksum"),
    ] {
        let got = answers(put(at, value), what).unwrap_or_else(|| panic!("{what}: accepted"));
        assert!(got.contains(want) || got.contains("signature") || got.contains("version"), "{what}: {got}");
    }
    assert_eq!(answers(put(11, &[0, 16]), "sectors of 4 KiB"), None, "noise, but no error");
}

#[test]
fn one_whole_copy_is_enough() {
    let mut patches = Vec::new();
    for (damaged, block) in BLOCKS.into_iter().enumerate() {
        patches.push((block + 200, vec![WHOLE.1[200] ^ 1]));
        let answer = answers(Arc::new(Patched(patches.clone())), "a damaged copy");
        match damaged {
            0 | 1 => assert_eq!(answer, None),
            _ => assert!(answer.unwrap().contains("checksum"), "none is left"),
        }
    }
}

/// A volume with so many passwords that trying them all would take minutes.
#[test]
fn passwords_without_end() {
    let (vmk, fvek, block) = (entry(2), entry(3), &WHOLE.1);
    let len = usize::from(u16::from_le_bytes([block[vmk], block[vmk + 1]]));
    let mut one = block[vmk..][..len].to_vec();
    *one.last_mut().unwrap() ^= 1;
    let mut entries = one.repeat(280);
    entries.extend(&block[fvek..checked(block)]);
    let size = (ENTRIES + entries.len()).next_multiple_of(16);
    let metadata = (48 + entries.len()) as u32;
    entries.resize(size - ENTRIES, 0);
    let disk = patched(&[
        (ENTRIES, &entries),
        (SIZE, &((size / 16) as u16).to_le_bytes()),
        (METADATA_SIZE, &metadata.to_le_bytes()),
    ]);
    let got = answers(disk, "passwords without end").unwrap();
    assert!(got.contains("more than 8 passwords"), "{got}");
}

#[test]
fn truncated_anywhere() {
    for len in
        [0, 3, 11, 160, 300, 511, 512, 513, 35_213_311, 35_213_312, 35_213_400, 35_278_848, 46_256_128, 104_857_599]
    {
        let disk = View::new("volume", WHOLE.0.clone(), 0, len).unwrap();
        assert!(answers(Arc::new(disk), "truncated").is_some(), "{len} bytes");
    }
}

/// With a right checksum, so that what is behind it is reached.
#[test]
fn bits_flipped_at_random() {
    let mut state = 0x1234_5678_9abc_def1u64;
    let mut next = |end: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % end
    };
    for round in 0..60 {
        let mut block = WHOLE.1.clone();
        for _ in 0..=next(3) {
            let at = next(checked(&WHOLE.1) as u64) as usize;
            block[at] ^= 1 << next(8);
        }
        answers(with_block(block), &format!("round {round}"));
    }
}
