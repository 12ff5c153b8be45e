//! The other copy of the FAT, where the two differ.

use super::*;

/// Where the two copies of the FAT lie: byte and length.
fn fats(bytes: &[u8]) -> [(usize, usize); 2] {
    let word = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let long = |at: usize| word(at) | word(at + 2) << 16;
    let len = if word(22) == 0 { long(36) } else { word(22) } * 512;
    let first = word(14) * 512;
    [(first, len), (first + len, len)]
}

/// A file in pieces that nothing but its chain leads to: those that lay between are deleted as well, or are used again.
fn case(bits: &str, kilobytes: u64) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let image = format(dir.path(), kilobytes, &["-F", bits, "-s", "1"]);
    let copy = |name: &str, content: &[u8]| {
        write(dir.path(), name, content);
        run("mcopy", &["-i", text(&image), text(&dir.path().join(name)), "::"]);
    };
    let delete = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| format!("::{name}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        run("mdel", &[&["-i", text(&image)], &names[..]].concat());
    };
    for number in 0..20 {
        copy(&format!("F{number}"), &noise(number, 512));
    }
    let even: Vec<String> = (0..20).step_by(2).map(|number| format!("F{number}")).collect();
    delete(&even.iter().map(String::as_str).collect::<Vec<_>>());
    if bits == "32" {
        // FAT32 goes on after what was allocated last, so its hint is put back.
        let mut bytes = fs::read(&image).unwrap();
        bytes[512 + 492..512 + 496].copy_from_slice(&2u32.to_le_bytes());
        fs::write(&image, bytes).unwrap();
    }
    let content = noise(99, 512 * 15 - 100);
    copy("PIECES", &content);
    let before = fs::read(&image).unwrap();
    delete(&["PIECES", "F1", "F3", "F5"]);
    (before, fs::read(&image).unwrap(), content)
}

#[test]
fn a_chain_that_is_only_in_the_other_copy() {
    for (bits, kilobytes) in [("12", 1440), ("16", 16 << 10), ("32", 40 << 10)] {
        let (before, after, content) = case(bits, kilobytes);
        let [(first, len), (second, _)] = fats(&before);
        let find = |bytes: Vec<u8>| {
            let fs = open(Arc::new(Memory::new("m", bytes)));
            let mut found: BTreeMap<_, _> = deleted(fs.as_ref()).into_iter().collect();
            found.remove("/_IECES").unwrap()
        };
        // Without it the free clusters between are taken for the file's.
        assert_ne!(find(after.clone()).content.as_ref(), Some(&content), "FAT{bits}");
        let mut differing = after.clone();
        differing[second..second + len].copy_from_slice(&before[second..second + len]);
        let seen = find(differing.clone());
        let what = "cluster chain in the other copy of the FAT";
        assert_eq!(seen.content.as_ref(), Some(&content), "FAT{bits}: {:?}", seen.deleted);
        assert_eq!(seen.deleted.state, State::Unproven);
        assert!(seen.deleted.evidence.iter().any(|evidence| evidence.what == what), "{:?}", seen.deleted.evidence);
        // What is used again is gone, whatever the old chain says: here the file's second cluster.
        let Some(at) = differing.windows(512).step_by(512).position(|block| block == &content[512..1024]) else {
            panic!("FAT{bits}: a cluster is found on the disk")
        };
        let volume = Geometry::of(&differing);
        volume.set(&mut differing, first, at);
        let seen = find(differing);
        assert!(seen.content.is_none() && *seen.deleted.lost == vec![512..1024; 1], "FAT{bits}: {:?}", seen.deleted);
    }
}

/// As much of the layout as is needed to use a cluster.
struct Geometry {
    bits: u32,
    data: usize,
}

impl Geometry {
    fn of(bytes: &[u8]) -> Self {
        let [_, (second, len)] = fats(bytes);
        let root = usize::from(u16::from_le_bytes([bytes[17], bytes[18]])) * 32;
        let bits = match bytes[54..62] {
            [b'F', b'A', b'T', b'1', b'2', ..] => 12,
            [b'F', b'A', b'T', b'1', b'6', ..] => 16,
            _ => 32,
        };
        Self { bits, data: second + len + root }
    }

    /// Says in the FAT at byte `fat` that the cluster in this sector is the last of a chain.
    fn set(&self, bytes: &mut [u8], fat: usize, sector: usize) {
        let cluster = (sector * 512 - self.data) / 512 + 2;
        match self.bits {
            12 => {
                let at = fat + cluster + cluster / 2;
                let pair = u16::from_le_bytes([bytes[at], bytes[at + 1]]);
                let pair = if cluster.is_multiple_of(2) { pair | 0xfff } else { pair | 0xfff0 };
                bytes[at..at + 2].copy_from_slice(&pair.to_le_bytes());
            }
            16 => bytes[fat + cluster * 2..][..2].fill(0xff),
            _ => bytes[fat + cluster * 4..][..4].copy_from_slice(&0x0fff_ffffu32.to_le_bytes()),
        }
    }
}
