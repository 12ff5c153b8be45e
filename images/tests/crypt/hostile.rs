//! Headers that lie: an answer in bounded time and memory, and never a panic.

use std::time::{Duration, Instant};

use super::{SECRET, memory, pattern, run, unlock};

/// A volume of this version, as small as it gets.
fn volume(version: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (path, key) = (folder.path().join("volume"), folder.path().join("key"));
    std::fs::write(&path, pattern(3 << 20)).unwrap();
    std::fs::write(&key, SECRET).unwrap();
    let mut arguments = vec!["luksFormat", "--batch-mode", "--disable-locks", "--type", version];
    arguments.extend(["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--offset", "5000"]);
    if version == "luks2" {
        arguments.extend(["--luks2-metadata-size", "16k", "--luks2-keyslots-size", "512k"]);
    }
    arguments.extend(["--key-file", key.to_str().unwrap(), path.to_str().unwrap()]);
    run("cryptsetup", &arguments);
    std::fs::read(&path).unwrap()
}

/// What is said of these bytes, or nothing if they open; within a time that no honest header needs.
#[track_caller]
fn answers(bytes: Vec<u8>, what: &str) -> Option<String> {
    let since = Instant::now();
    let disk = memory(bytes);
    let answer = match images::crypt::recognise(disk.as_ref()).unwrap() {
        None => Some("not recognised".to_owned()),
        Some(container) => {
            let _ = (container.uuid)(disk.as_ref());
            match unlock(disk, None, SECRET) {
                Ok(Some(inside)) => {
                    let mut buf = vec![0; 4096.min(inside.size() as usize)];
                    let _ = inside.read_at(&mut buf, 0);
                    None
                }
                Ok(None) => Some("wrong key".to_owned()),
                Err(error) => Some(error.to_string()),
            }
        }
    };
    assert!(since.elapsed() < Duration::from_secs(20), "{what}: {:?}", since.elapsed());
    answer
}

fn put(bytes: &[u8], at: usize, value: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..][..value.len()].copy_from_slice(value);
    bytes
}

#[test]
fn luks1_fields() {
    let whole = volume("luks1");
    assert_eq!(answers(whole.clone(), "untouched"), None);
    let many = &[0xff; 4];
    let cases: &[(&str, usize, &[u8], &str)] = &[
        ("2^32 iterations of a slot", 208 + 4, many, "4294967295 iterations"),
        ("no iterations", 208 + 4, &[0; 4], "0 iterations"),
        ("2^32 iterations of the digest", 164, many, "4294967295 iterations"),
        ("2^32 stripes", 208 + 44, many, "stripes"),
        ("no stripes", 208 + 44, &[0; 4], "0 stripes"),
        ("key material past the end", 208 + 40, many, "do not lie on"),
        ("a key of 2^32 bytes", 108, many, "4294967295 bytes"),
        ("no key", 108, &[0; 4], "0 bytes"),
        ("an odd key", 108, &[0, 0, 0, 33], "264 bits"),
        ("data past the end", 104, many, "past the end"),
        ("an unknown hash", 72, b"md9\0", "md9"),
        ("an unknown cipher", 8, b"des\0", "des-xts"),
        ("an unknown mode", 40, b"ctr-plain\0", "aes-ctr-plain"),
        ("version 3", 6, &[0, 3], "not recognised"),
        ("an odd mark of a slot", 208, &[1; 4], "0x1010101"),
    ];
    for (what, at, value, want) in cases {
        let got = answers(put(&whole, *at, value), what).unwrap_or_else(|| panic!("{what}: accepted"));
        assert!(got.contains(want), "{what}: {got}");
    }
}

#[test]
fn truncated_anywhere() {
    for version in ["luks1", "luks2"] {
        let whole = volume(version);
        for len in
            [0, 5, 8, 100, 207, 208, 591, 592, 593, 4095, 4096, 4097, 0x4000, 0x8000, 300_000, 2_560_000, 2_560_511]
        {
            assert!(answers(whole[..len].to_vec(), "truncated").is_some(), "{version}, {len} bytes");
        }
    }
}

#[test]
fn patches_at_random() {
    let whole = volume("luks1");
    let noise = pattern(4096);
    for (round, noise) in noise.chunks_exact(4).enumerate().take(200) {
        let at = usize::from(u16::from_le_bytes([noise[0], noise[1]])) % 592;
        // Iterations within the bounds are honest work: leave their two high bytes alone.
        let counts = [164, 165].into_iter().chain((0..8).flat_map(|slot| [208 + 48 * slot + 4, 208 + 48 * slot + 5]));
        if counts.into_iter().any(|count| count == at) {
            continue;
        }
        answers(put(&whole, at, &[noise[2]]), &format!("round {round}"));
    }
}

/// LUKS2 with a text in its JSON replaced, and the checksums made right again.
fn edited(whole: &[u8], from: &str, to: &str) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    let mut bytes = whole.to_vec();
    for at in [0, 0x4000] {
        let json = String::from_utf8(bytes[at + 0x1000..at + 0x4000].to_vec()).unwrap();
        let json = json.trim_end_matches('\0');
        assert!(json.contains(from), "{from} is not in {json}");
        let mut json = json.replace(from, to).into_bytes();
        json.resize(0x3000, 0);
        bytes[at + 0x1000..at + 0x4000].copy_from_slice(&json);
        bytes[at + 448..at + 512].fill(0);
        let sum = Sha256::digest(&bytes[at..at + 0x4000]);
        bytes[at + 448..at + 480].copy_from_slice(&sum);
    }
    bytes
}

#[test]
fn luks2_fields() {
    let whole = volume("luks2");
    assert_eq!(answers(whole.clone(), "untouched"), None);
    let argon =
        "\"kdf\":{\"type\":\"argon2id\",\"time\":4294967295,\"memory\":4294967295,\"cpus\":4,\"was\":\"pbkdf2\"";
    let cases = [
        ("\"iterations\":1000", "\"iterations\":4294967295", "4294967295 iterations"),
        ("\"kdf\":{\"type\":\"pbkdf2\"", argon, "4294967295 passes"),
        ("\"stripes\":4000", "\"stripes\":4294967295", "an area of"),
        ("\"stripes\":4000", "\"stripes\":0", "0 stripes"),
        ("\"key_size\":64", "\"key_size\":0", "0 bytes"),
        ("\"key_size\":64", "\"key_size\":4294967295", "bytes"),
        ("\"offset\":\"32768\"", "\"offset\":\"18446744073709551615\"", "do not lie on"),
        ("\"offset\":\"2560000\"", "\"offset\":\"18446744073709551615\"", "its size is dynamic"),
        ("\"size\":\"dynamic\"", "\"size\":\"18446744073709551104\"", "but volume ends"),
        ("\"size\":\"dynamic\"", "\"size\":\"-1\"", "its size is -1"),
        ("\"size\":\"dynamic\"", "\"size\":\"100\"", "want sectors"),
        ("\"sector_size\":512", "\"sector_size\":0", "sectors of 0"),
        ("\"sector_size\":512", "\"sector_size\":65536", "sectors of 65536"),
        ("\"sector_size\":512", "\"sector_size\":512,\"integrity\":{\"type\":\"hmac(sha256)\"}", "integrity"),
        ("\"type\":\"crypt\"", "\"type\":\"hw-opal\"", "hw-opal"),
        (
            "\"encryption\":\"aes-xts-plain64\",\"sector",
            "\"encryption\":\"cipher_null-ecb\",\"sector",
            "protects nothing",
        ),
        ("\"tokens\":{}", "\"tokens\":[[[[", "LUKS2 metadata"),
        ("\"config\":{", "\"config\":{\"requirements\":{\"mandatory\":[\"opal\"]},", "opal"),
        ("\"config\":{", "\"config\":{\"requirements\":{\"mandatory\":[\"online-reencrypt-v2\"]},", "reencryption"),
        ("\"segments\":[\"0\"]", "\"segments\":[\"1\"]", "another key"),
        ("\"segments\":[\"0\"]", "\"segments\":[]", "wrong key"),
        ("\"digests\":{\"0\"", "\"digests\":{\"x\"", "decimal"),
        ("\"kdf\":{\"type\":\"pbkdf2\"", "\"kdf\":{\"type\":\"argon3\"", "key derivation that is not known"),
    ];
    for (from, to, want) in cases {
        let got = answers(edited(&whole, from, to), to).unwrap_or_else(|| panic!("{to}: accepted"));
        assert!(got.contains(want), "{to}: {got}");
    }
    let sized = put(&put(&whole, 8, &[0xff; 8]), 0x4000 + 8, &[0xff; 8]);
    assert!(answers(sized, "a header of 2^64 bytes").unwrap().contains("LUKS2 header"));
    for deep in [100, 1000] {
        let nested = format!("\"tokens\":{}{}", "[".repeat(deep), "]".repeat(deep));
        answers(edited(&whole, "\"tokens\":{}", &nested), "nested");
    }
}

/// Several segments, the second of which continues with the numbers of its sectors.
#[test]
fn several_segments() {
    let whole = volume("luks2");
    let mut want = vec![0; 512 * 200];
    unlock(memory(whole.clone()), None, SECRET).unwrap().unwrap().read_at(&mut want, 0).unwrap();
    let one = "\"0\":{\"type\":\"crypt\",\"offset\":\"2560000\",\"size\":\"dynamic\",\"iv_tweak\":\"0\"";
    let two = format!(
        "\"0\":{{\"type\":\"crypt\",\"offset\":\"2560000\",\"size\":\"5120\",\"iv_tweak\":\"0\",\"encryption\":\"aes-xts-plain64\",\"sector_size\":512}},{}",
        one.replace("\"0\":{", "\"1\":{").replace("2560000", "2565120").replace("tweak\":\"0\"", "tweak\":\"10\"")
    );
    let bytes = edited(&edited(&whole, one, &two), "\"segments\":[\"0\"]", "\"segments\":[\"0\",\"1\"]");
    let disk = unlock(memory(bytes), None, SECRET).unwrap().unwrap();
    let mut got = vec![0; want.len()];
    disk.read_at(&mut got, 0).unwrap();
    assert!(got == want);
}
