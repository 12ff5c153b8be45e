//! Damaged images: an error or other bytes, but no panic, no hang and nothing large.

use std::sync::Arc;

use images::disk::Memory;
use images::{Error, Opener, Request, Result};

use crate::check::*;
use crate::tools::*;

fn survive(format: &str, bytes: Vec<u8>, opener: &dyn Opener) -> Result<()> {
    hostile::survive(format, bytes, &Request { opener, snapshot: None, budget: &images::Budget::default() }, 8)
}

/// Damages `image` at `places` (start and length in bytes): every field at its limits, random patches, truncation.
///
/// `repair` makes checksums right again, so that the damage gets past them.
pub fn damage(format: &str, image: &[u8], places: &[(usize, usize)], opener: &dyn Opener, repair: fn(&mut [u8])) {
    survive(format, image.to_vec(), opener).unwrap();
    let len = image.len() as u64;
    #[rustfmt::skip]
    let values = [
        0, 1, 2, 3, 7, 64, 511, 512, 513, 4096, 65536, 1 << 20, i32::MAX as u64, 1 << 31, u32::MAX.into(),
        u64::from(u32::MAX) - 1, len, len / 512, len - 1, 1 << 40, 1 << 62, i64::MAX as u64, 1 << 63, u64::MAX,
        u64::MAX - 511, 0xfff0_0000_0000_0006, 0xfff0_0000_0000_0007,
    ];
    let every = (image.len() >> 19).clamp(4, 16);
    let mut bytes = image.to_vec();
    for (start, length) in places {
        for at in (*start..start + length).step_by(4) {
            for width in [4, 8] {
                for (index, value) in values.into_iter().enumerate() {
                    // Large images are tried less often: each time costs a copy.
                    if (index * 7 + at / 4 * 3 + width) % every != 0 {
                        continue;
                    }
                    if (value > u32::MAX.into()) != (width == 8) || at + width > bytes.len() {
                        continue;
                    }
                    for swapped in [value.to_le_bytes()[..width].to_vec(), value.to_be_bytes()[8 - width..].to_vec()] {
                        bytes[at..at + width].copy_from_slice(&swapped);
                        repair(&mut bytes);
                        let _ = survive(format, bytes.clone(), opener);
                    }
                    bytes.copy_from_slice(image);
                }
            }
        }
    }
    let mut random = Random(len);
    for _ in 0..100 {
        for _ in 0..1 + random.below(4) {
            let (start, length) = places[random.below(places.len() as u64) as usize];
            let at = start + random.below(length as u64) as usize;
            for byte in bytes.iter_mut().skip(at).take(1 + random.below(8) as usize) {
                *byte = random.next() as u8;
            }
        }
        repair(&mut bytes);
        let _ = survive(format, bytes.clone(), opener);
        bytes.copy_from_slice(image);
    }
}

/// A truncated image is refused, or reads as before up to an error.
pub fn truncate(format: &str, image: &[u8], opener: &dyn Opener) {
    let whole = open_with(format, Arc::new(Memory::new("whole", image.to_vec())), opener).unwrap();
    let want = read_all(&*whole);
    let len = image.len();
    for cut in (0..len).step_by((len / 60).max(1) + 13).chain([64, 511, 512, 513, len - 513, len - 512, len - 1]) {
        let disk = match open_with(format, Arc::new(Memory::new("cut", image[..cut].to_vec())), opener) {
            Ok(disk) => disk,
            Err(error) => {
                let known = matches!(error.root(), Error::Unknown(_) | Error::Corrupt { .. });
                assert!(known, "{format} cut at {cut}: {error}");
                continue;
            }
        };
        assert_eq!(disk.size() as usize, want.len());
        let mut buf = [0; 4096];
        for (at, want) in (0..).step_by(4096).zip(want.chunks(4096)) {
            match disk.read_at(&mut buf[..want.len()], at) {
                Ok(()) => assert!(buf[..want.len()] == *want, "{format} cut at {cut}: other bytes at {at:#x}"),
                Err(error) => assert!(matches!(error.root(), Error::Corrupt { .. }), "{format}: {error}"),
            }
        }
    }
}
