//! BitLocker volumes that Windows has made: the images of cryptsetup's own tests, whose content is known by its hash.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use images::crypt::{Sealed, recognise};
use images::{Data, Disk, Options, Result};
use sha2::{Digest, Sha256};

use super::memory;

/// The password of every volume that has one.
pub const PASSWORD: &str = "anaconda";

/// An image, its recovery password, and the SHA-256 of what the kernel shows inside.
const VOLUMES: &[(&str, &str, &str)] = &[
    ("aes-cbc-128", "042647-302313-590458-071500-554323-116567-412181-516978", "04500a8120ba355ed206284e03e26e59b7e1f1832868e1d69bb47023ebd3460f"),
    ("aes-cbc-256", "616319-601744-502117-534017-367994-176748-607299-663201", "35809d6db53c7ad8ff36195277b328370ea5df2c1f7003c20e07b64133d8800b"),
    ("aes-xts-128", "235818-357951-253979-013365-241120-245575-342914-591910", "674e3a976927fd62f3fc26df2c695cac75b8d364e3b45393717efa971f16db0f"),
    ("aes-xts-256", "404558-436711-420860-678557-638220-018909-039941-695321", "5bb6ff5acbded10be990c6fa208ab479934a08bc2e88740a1aa2642af2f42025"),
    ("aes-cbc-elephant-128", "529573-278784-259347-197835-171457-264044-610280-313269", "b18e4f956295bc0f327e551322261fb9c74ac0d3ce58bf3b806e98474e1619ea"),
    ("aes-cbc-elephant-256", "618871-562507-462814-555324-264660-562727-105171-668195", "0af06f010fe21522bdd77f8d2d3cb0ad5fceaf2729295ff0fd50e65adfa0b7b3"),
    ("togo-aes-cbc-128", "607552-529496-550902-707531-545787-248358-370216-060401", "3fb19a2b9cf89962216cc7b27f7127ea7f241c39b7b340d7431a232f81c36eb1"),
    ("togo-aes-xts-128", "243067-548680-059818-148852-287771-550088-628265-631653", "5954795eb41764b59a10d86c26fd3b43fb6d89f433c8edc1e8fd48067d198591"),
    ("clearkey-aes-cbc-128", "528561-251702-140283-271590-717365-674234-182611-409563", ""),
    ("aes-xts-128-new-entry", "199067-214280-266398-508123-023584-402875-562793-012067", "794163062398ae43b796f85eafde8acf5dc7830a93ec2aa7ef0c6baaa14b2757"),
    ("aes-xts-128-smart-card", "538329-080597-399190-348700-323345-161062-279807-230978", "007de1a342f49a15f97712f634aa1684e1d8c24e220652fc9796b22421413268"),
    ("aes-xts-128-eow", "685839-373538-494868-036223-326590-515064-328416-685102", ""),
    ("aes-cbc-128-4k", "482548-408683-386023-032725-083754-344718-228228-361845", "2bf0ee1198cfcc95654636c045f72a91727f7d5b1208db88eafb77ac65b60109"),
    ("aes-xts-128-4k", "486552-140030-675719-163900-264671-413787-580239-152614", "b4c0416ae643537207413ed78d4bcadae697bb86a6262864ac00afda01312277"),
    ("aes-xts-128-startup-key", "363770-230505-096371-652674-567006-579150-291038-408111", "bbb68369d8f7badb2c2330349d9d0cf12e68f54eece25e718d2bb13feba23f7a"),
    ("aes-xts-128-startup-key-win11", "512897-060621-709148-071203-357951-357302-160831-066297", "76539fdf098cb3b9d15e318d34eace9da8645b8087282adac800094c59df6347"),
];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/bitlocker").join(name)
}

/// The volume in this image; as a whole, so that it can be changed.
pub fn volume(name: &str) -> Arc<dyn Disk> {
    images::open(&golden(&format!("{name}.qcow2")), &Options::default()).unwrap()
}

fn sealed(disk: Arc<dyn Disk>) -> Sealed {
    Sealed { disk, header: None, name: "inside".to_owned() }
}

pub fn unlock(disk: Arc<dyn Disk>, secret: &[u8]) -> Result<Option<Arc<dyn Disk>>> {
    let container = recognise(&*disk)?.expect("it starts like one");
    assert_eq!(container.name, "BitLocker");
    (container.unlock)(&sealed(disk), secret)
}

fn sha256(disk: &dyn Disk) -> String {
    let mut hash = Sha256::new();
    let mut buf = vec![0; 1 << 20];
    for at in (0..disk.size()).step_by(buf.len()) {
        let len = buf.len().min((disk.size() - at) as usize);
        disk.read_at(&mut buf[..len], at).unwrap();
        hash.update(&buf[..len]);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_cipher_that_windows_has() {
    for (name, recovery, want) in VOLUMES {
        let disk = volume(name);
        let inside = unlock(disk.clone(), recovery.as_bytes()).unwrap().unwrap_or_else(|| panic!("{name}"));
        println!("{name} {}", sha256(&*inside) == *want);
        let mut a = vec![0; 16]; inside.read_at(&mut a, 0).unwrap();
        println!("{a:?} pw {:?}", unlock(disk.clone(), PASSWORD.as_bytes()).map(|o| o.is_some()));
    }
}
