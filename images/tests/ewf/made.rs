//! Images that ewf-tools makes.

use crate::tools::*;

/// Runs one of ewf-tools in a folder.
pub fn run(folder: &Folder, words: &[&str]) {
    toolbox::run(toolbox::command(words[0]).args(&words[1..]).current_dir(folder.path("")));
}

/// Acquires `bytes` with these options (words parted by spaces): `image.E01`, or whatever the format calls it.
pub fn acquire(bytes: &[u8], options: &str) -> Folder {
    let folder = Folder::new();
    folder.write("source", bytes);
    let mut words = vec!["ewfacquire", "-q", "-u", "-t", "image"];
    words.extend(options.split_whitespace());
    words.push("source");
    run(&folder, &words);
    folder
}

/// The name of the first segment.
pub fn first(folder: &Folder) -> String {
    let names = ["image.E01", "image.e01", "image.s01"];
    (*names.iter().find(|name| folder.path(name).exists()).unwrap()).to_owned()
}

/// The offset of the first section of this kind, and of the one behind it.
pub fn section(image: &[u8], wanted: &str) -> (usize, usize) {
    sections(image).into_iter().find(|(kind, ..)| kind == wanted).map(|(_, at, next)| (at, next)).unwrap()
}

/// All sections: their kinds, offsets and ends, as far as they make sense.
pub fn sections(image: &[u8]) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    let mut at = 13;
    while let Some(descriptor) = image.get(at..at + 76) {
        let end = descriptor[..16].iter().position(|byte| *byte == 0).unwrap_or(16);
        let kind = String::from_utf8_lossy(&descriptor[..end]).into_owned();
        let next = u64::from_le_bytes(descriptor[16..24].try_into().unwrap()) as usize;
        let is_last = matches!(kind.as_str(), "next" | "done");
        found.push((kind, at, if is_last { at + 76 } else { next.min(image.len()) }));
        if is_last || next <= at || next > image.len() {
            break;
        }
        at = next;
    }
    found
}

fn put_sum(image: &mut [u8], from: usize, to: usize) {
    if let Some(bytes) = image.get(from..to) {
        let sum = adler32(bytes);
        if let Some(place) = image.get_mut(to..to + 4) {
            place.copy_from_slice(&sum.to_le_bytes());
        }
    }
}

/// Makes the checksums of all sections right again, but not those of chunks.
pub fn repair(image: &mut [u8]) {
    for (kind, at, next) in sections(image) {
        put_sum(image, at, at + 72);
        let data = at + 76;
        match kind.as_str() {
            "volume" if next >= data + 1052 => put_sum(image, data, data + 1048),
            "volume" => put_sum(image, data, data + 90),
            "table" | "table2" => {
                put_sum(image, data, data + 20);
                let count = image.get(data..data + 4).map_or(0, |count| u32::from_le_bytes(count.try_into().unwrap()));
                let end = data + 24 + 4 * count as usize;
                if end + 4 <= next.min(image.len()) {
                    put_sum(image, data + 24, end);
                }
            }
            "hash" => put_sum(image, data, data + 32),
            "digest" => put_sum(image, data, data + 76),
            "error2" => put_sum(image, data, data + 516),
            _ => {}
        }
    }
}

/// RFC 1950, 8.2: written once more here, as the other side of the one that is tested.
pub fn adler32(bytes: &[u8]) -> u32 {
    let (mut a, mut b) = (1u64, 0u64);
    for chunk in bytes.chunks(5000) {
        for byte in chunk {
            a += u64::from(*byte);
            b += a;
        }
        (a, b) = (a % 65521, b % 65521);
    }
    (b << 16 | a) as u32
}
