//! Encrypted images that lie about their encryption: a clear answer in bounded time, and never a panic.

use std::fs;
use std::time::{Duration, Instant};

use images::Result;

use super::pattern;
use super::qcow::{Folder, Given};

/// A qcow2 with LUKS, its bytes, where its header names the LUKS header, and where that is.
fn image(folder: &Folder) -> (Vec<u8>, usize, usize) {
    fs::write(folder.path("raw"), pattern(200 << 10)).unwrap();
    let options = "encrypt.format=luks,encrypt.key-secret=one,encrypt.iter-time=1";
    folder.qemu_img(&format!("convert -f raw -O qcow2 -o {options} @raw @image"));
    let bytes = fs::read(folder.path("image")).unwrap();
    let pointer = 0x0537_be77u32.to_be_bytes();
    let extension = (104..4096).step_by(8).find(|&at| bytes[at..at + 4] == pointer).expect("the extension");
    let luks = u64::from_be_bytes(bytes[extension + 8..][..8].try_into().unwrap()) as usize;
    assert_eq!(bytes[luks..luks + 6], *b"LUKS\xba\xbe");
    (bytes, extension, luks)
}

/// What is said of these bytes, or nothing if they open and read.
#[track_caller]
fn answers(folder: &Folder, bytes: &[u8], what: &str) -> Option<String> {
    fs::write(folder.path("bad"), bytes).unwrap();
    let since = Instant::now();
    let read = || -> Result<()> {
        let disk = folder.open("bad", &Given::new(&["pass"]))?;
        let mut buf = vec![0; (disk.size() as usize).min(200 << 10)];
        disk.extent_at(0)?;
        disk.read_at(&mut buf, 0)
    };
    let answer = read().err().map(|error| error.to_string());
    assert!(since.elapsed() < Duration::from_secs(20), "{what}: {:?}", since.elapsed());
    answer
}

#[test]
fn fields_that_lie() {
    let folder = Folder::new();
    let (whole, extension, luks) = image(&folder);
    assert_eq!(answers(&folder, &whole, "untouched"), None);
    let (many, end) = (&[0xff; 8], &(whole.len() as u64).to_be_bytes());
    let cases: &[(&str, usize, &[u8], &str)] = &[
        ("a header past the end", extension + 8, many, "encryption header at byte 0xffffffffffffffff"),
        ("a header at the end", extension + 8, end, "encryption header"),
        ("a header inside of a cluster", extension + 15, &[8], "want a multiple of the cluster size"),
        ("a header of 2^64 bytes", extension + 16, many, "18446744073709551615 bytes long"),
        ("a header that is the image's", extension + 8, &[0; 8], "its magic is missing"),
        ("a pointer of 8 bytes", extension + 4, &[0, 0, 0, 8], "8 bytes long, want 16"),
        ("no pointer", extension, &[1; 4], "does not say where the header lies"),
        ("an unknown method", 32, &[0, 0, 0, 3], "unknown method 3"),
        ("LUKS2", luks + 6, &[0, 2], "LUKS of version 2 in an image"),
        ("no LUKS", luks, b"SUKL", "its magic is missing"),
        ("2^32 iterations", luks + 208 + 4, &many[..4], "4294967295 iterations"),
        ("2^32 iterations of the digest", luks + 164, &many[..4], "4294967295 iterations"),
        ("key material past the end", luks + 208 + 40, &many[..4], "do not lie on"),
        ("2^32 stripes", luks + 208 + 44, &many[..4], "stripes"),
        ("a key of 2^32 bytes", luks + 108, &many[..4], "4294967295 bytes"),
        ("an unknown cipher", luks + 8, b"des\0", "des-xts"),
        ("a cipher that is none", luks + 8, b"cipher_null\0", "protects nothing"),
    ];
    for (what, at, value, want) in cases {
        let mut bytes = whole.clone();
        bytes[*at..][..value.len()].copy_from_slice(value);
        let got = answers(&folder, &bytes, what).unwrap_or_else(|| panic!("{what}: accepted"));
        assert!(got.contains(want), "{what}: {got}");
    }
    // Where the data begins in the LUKS header is of no account here.
    let mut bytes = whole.clone();
    bytes[luks + 104..][..4].fill(0xff);
    assert_eq!(answers(&folder, &bytes, "payload-offset"), None);
    for len in [luks, luks + 100, luks + 592, luks + 4096, whole.len() - (100 << 10)] {
        assert!(answers(&folder, &whole[..len], "truncated").is_some(), "{len} bytes");
    }
}

#[test]
fn bits_flipped_at_random() {
    let folder = Folder::new();
    let (whole, extension, luks) = image(&folder);
    for (round, noise) in pattern(8 * 80).chunks_exact(8).enumerate() {
        let at = usize::from(u16::from_le_bytes([noise[0], noise[1]]));
        // The headers; but what an honest number of iterations costs is not the question here.
        let at = if round % 2 == 0 { luks + at % 208 } else { extension + at % 24 };
        if (luks + 164..luks + 168).contains(&at) {
            continue;
        }
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (noise[2] % 8);
        answers(&folder, &bytes, &format!("round {round}"));
    }
}

#[test]
fn the_older_format() {
    let folder = Folder::new();
    fs::write(folder.path("raw"), pattern(200 << 10)).unwrap();
    folder.qemu_img("convert -f raw -O qcow -o encrypt.format=aes,encrypt.key-secret=one @raw @image");
    let whole = fs::read(folder.path("image")).unwrap();
    assert_eq!(answers(&folder, &whole, "untouched"), None);
    let mut bytes = whole.clone();
    bytes[36..40].copy_from_slice(&[0, 0, 0, 9]);
    assert!(answers(&folder, &bytes, "an unknown method").unwrap().contains("unknown method 9"));
    for cut in [1, 512, 5000, 100_000] {
        assert!(answers(&folder, &whole[..whole.len() - cut], "truncated").is_some(), "{cut} bytes less");
    }
}
