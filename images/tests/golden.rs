//! The images in `golden/`: their content is what qemu-img said it was when they were made.

use std::fs;
use std::path::Path;

use images::{Options, open};
use sha2::{Digest, Sha256};

#[test]
fn every_golden_image_reads_as_it_did_when_it_was_made() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let expected = fs::read_to_string(folder.join("expected.txt")).unwrap();
    let mut tried = 0;
    for line in expected.lines() {
        let mut words = line.split(' ');
        let (sha256, size, name) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        let options = Options { snapshot: words.next().map(str::to_owned), ..Options::default() };
        let disk = open(&folder.join(name), &options).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(disk.size().to_string(), size, "{line}");
        let mut content = vec![0; usize::try_from(disk.size()).unwrap()];
        // Pieces that fit no cluster, so that every seam is crossed.
        for (index, piece) in content.chunks_mut(100_003).enumerate() {
            disk.read_at(piece, index as u64 * 100_003).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        let seen: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(seen, sha256, "{line}");
        tried += 1;
    }
    assert!(tried >= 14, "expected.txt has {tried} lines");
}
