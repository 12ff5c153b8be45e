//! BitLocker volumes that Windows has made: images of cryptsetup's own tests, whose content is known by its hash.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use images::crypt::{Sealed, recognise};
use images::{Data, Disk, Options, Result};
use sha2::{Digest, Sha256};

use super::memory;

/// The password of every volume that has one.
pub const PASSWORD: &[u8] = b"anaconda";

/// An image, its recovery password, and the SHA-256 of what the kernel shows inside.
const VOLUMES: &[(&str, &str, &str)] = &[
    (
        "aes-cbc-128-4k",
        "482548-408683-386023-032725-083754-344718-228228-361845",
        "2bf0ee1198cfcc95654636c045f72a91727f7d5b1208db88eafb77ac65b60109",
    ),
    (
        "aes-cbc-256",
        "616319-601744-502117-534017-367994-176748-607299-663201",
        "35809d6db53c7ad8ff36195277b328370ea5df2c1f7003c20e07b64133d8800b",
    ),
    (
        "aes-cbc-elephant-128",
        "529573-278784-259347-197835-171457-264044-610280-313269",
        "b18e4f956295bc0f327e551322261fb9c74ac0d3ce58bf3b806e98474e1619ea",
    ),
    (
        "aes-cbc-elephant-256",
        "618871-562507-462814-555324-264660-562727-105171-668195",
        "0af06f010fe21522bdd77f8d2d3cb0ad5fceaf2729295ff0fd50e65adfa0b7b3",
    ),
    (
        "aes-xts-128-4k",
        "486552-140030-675719-163900-264671-413787-580239-152614",
        "b4c0416ae643537207413ed78d4bcadae697bb86a6262864ac00afda01312277",
    ),
    (
        "aes-xts-256",
        "404558-436711-420860-678557-638220-018909-039941-695321",
        "5bb6ff5acbded10be990c6fa208ab479934a08bc2e88740a1aa2642af2f42025",
    ),
    (
        "togo-aes-cbc-128",
        "607552-529496-550902-707531-545787-248358-370216-060401",
        "3fb19a2b9cf89962216cc7b27f7127ea7f241c39b7b340d7431a232f81c36eb1",
    ),
    (
        "aes-xts-128-startup-key",
        "363770-230505-096371-652674-567006-579150-291038-408111",
        "bbb68369d8f7badb2c2330349d9d0cf12e68f54eece25e718d2bb13feba23f7a",
    ),
];
/// The recovery password of the volume whose protection is suspended.
const CLEAR_KEY_RECOVERY: &[u8] = b"528561-251702-140283-271590-717365-674234-182611-409563";

/// A file that `cargo xtask setup test` has fetched.
fn fetched(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bitlocker").join(name);
    assert!(path.exists(), "{} is not there: `cargo xtask setup test` fetches it", path.display());
    path
}

/// The volume in this image.
pub fn volume(name: &str) -> Arc<dyn Disk> {
    images::open(&fetched(&format!("bitlk-{name}.img")), &Options::default()).unwrap()
}

/// Its bytes, for changing them.
pub fn bytes(name: &str) -> Vec<u8> {
    let disk = volume(name);
    let mut bytes = vec![0; disk.size() as usize];
    disk.read_at(&mut bytes, 0).unwrap();
    bytes
}

pub fn sealed(disk: Arc<dyn Disk>) -> Sealed {
    Sealed { disk, header: None, name: "inside".to_owned() }
}

/// Tries a secret on a volume that must be recognised.
pub fn unlock(disk: Arc<dyn Disk>, secret: &[u8]) -> Result<Option<Arc<dyn Disk>>> {
    let container = recognise(&*disk)?.expect("it starts like one");
    assert_eq!((container.name, (container.uuid)(&*disk).unwrap()), ("BitLocker", None));
    (container.unlock)(&sealed(disk), secret)
}

fn sha256(disk: &dyn Disk) -> String {
    let mut hash = Sha256::new();
    // Reads that fit neither sectors nor segments.
    let mut buf = vec![0; 999_999];
    for at in (0..disk.size()).step_by(buf.len()) {
        let len = buf.len().min((disk.size() - at) as usize);
        disk.read_at(&mut buf[..len], at).unwrap();
        hash.update(&buf[..len]);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_cipher_and_every_key_of_windows() {
    for (name, recovery, want) in VOLUMES {
        let disk = volume(name);
        let inside = unlock(disk.clone(), recovery.as_bytes()).unwrap().unwrap_or_else(|| panic!("{name}"));
        assert_eq!((inside.size(), sha256(&*inside)), (disk.size(), (*want).to_owned()), "{name}");
        let (secret, wrong) = match *name {
            "aes-xts-128-startup-key" => {
                let key = std::fs::read(fetched("4381F759-C4F8-4DE0-BB61-FC33A831BDA5.BEK")).unwrap();
                let wrong = [&key[..140], &[key[140] ^ 1], &key[141..]].concat();
                (key, wrong)
            }
            _ => (PASSWORD.to_vec(), b"Anaconda".to_vec()),
        };
        let by_key = unlock(disk.clone(), &secret).unwrap().unwrap_or_else(|| panic!("{name}"));
        let mut start = [vec![0; 8192], vec![0; 8192]];
        inside.read_at(&mut start[0], 0).unwrap();
        by_key.read_at(&mut start[1], 0).unwrap();
        assert!(start[0] == start[1], "{name}");
        assert!(unlock(disk.clone(), &wrong).unwrap().is_none(), "{name}");
        let container = recognise(&*disk).unwrap().unwrap();
        assert!((container.unprotected)(&sealed(disk)).unwrap().is_none(), "{name} needs a key");
    }
}

#[test]
fn recovery_passwords_are_digits_whatever_lies_between() {
    let (name, recovery, _) = VOLUMES[0];
    let disk = volume(name);
    let other = VOLUMES[1].1;
    for same in [recovery.replace('-', ""), recovery.replace('-', " ")] {
        assert!(unlock(disk.clone(), same.as_bytes()).unwrap().is_some(), "{same}");
    }
    let short = &recovery[..recovery.len() - 1];
    let odd = recovery.replacen('4', "5", 1);
    for wrong in [other, short, &odd, &format!("{recovery}0"), "", "-"] {
        assert!(unlock(disk.clone(), wrong.as_bytes()).unwrap().is_none(), "{wrong}");
    }
    assert!(unlock(disk, b"\xff\xfe").unwrap().is_none(), "no text");
}

#[test]
fn metadata_is_hidden_and_the_rest_is_no_hole() {
    let disk = unlock(volume("aes-xts-256"), PASSWORD).unwrap().unwrap();
    let mut runs = Vec::new();
    let mut at = 0;
    while at < disk.size() {
        let extent = disk.extent_at(at).unwrap();
        runs.push((at, extent.len, matches!(extent.data, Data::Zero)));
        at += extent.len;
    }
    assert_eq!(at, disk.size());
    let hidden: Vec<_> = runs.iter().filter(|run| run.2).map(|run| (run.0, run.1)).collect();
    // A metadata block, with the start of the volume behind it, and two more.
    assert_eq!(hidden, [(35_213_312, 65_536), (35_278_848, 8192), (46_256_128, 65_536), (57_909_248, 65_536)]);
    let mut zeros = vec![1; 65_536 + 8192];
    disk.read_at(&mut zeros, 35_213_312).unwrap();
    assert!(zeros.iter().all(|byte| *byte == 0));
}

/// A volume whose protection is suspended. This one was also made to encrypt what is written and nothing before, which
/// is refused; so its mark says otherwise here.
#[test]
fn suspended_protection_needs_no_key() {
    let mut bytes = bytes("clearkey-aes-cbc-128");
    assert!(unlock(memory(bytes.clone()), PASSWORD).err().unwrap().to_string().contains("encrypt-on-write"));
    bytes[160..176].copy_from_slice(b"\x3b\xd6\x67\x49\x29\x2e\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01");
    let disk = memory(bytes);
    let container = recognise(&*disk).unwrap().unwrap();
    let open = (container.unprotected)(&sealed(disk.clone())).unwrap().unwrap();
    let by_key = unlock(disk, CLEAR_KEY_RECOVERY).unwrap().unwrap();
    let mut start = [[0; 512], [0; 512]];
    open.read_at(&mut start[0], 0).unwrap();
    by_key.read_at(&mut start[1], 0).unwrap();
    assert!(start[0] == start[1]);
    // The serial number is the UUID that blkid shows, 04E0BBC1E0BBB770.
    assert_eq!((&start[0][3..11], &start[0][72..80]), (&b"NTFS    "[..], &0x04e0_bbc1_e0bb_b770u64.to_le_bytes()[..]));
}

#[test]
fn what_is_not_read_is_refused_by_name() {
    let refused = |disk| unlock(disk, PASSWORD).err().expect("it is refused").to_string();
    assert!(refused(volume("aes-xts-128-eow")).contains("encrypt-on-write"));
    let mut vista = bytes("aes-cbc-256");
    vista[..3].copy_from_slice(b"\xeb\x52\x90");
    assert!(refused(memory(vista)).contains("Vista"));
    let fat = [&b"\xeb\x58\x90MSWIN4.1"[..], &[0; 501]].concat();
    assert!(recognise(&*memory(fat)).unwrap().is_none(), "a FAT volume of Windows 98");
}
