//! Folded names against e2fsprogs: `dx_hash -c` of debugfs hashes the name as it folds it.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::process::Command;

use filesystems::ext::casefold::fold;

/// The hashes that debugfs computes, of each name in order.
fn hashes(names: &[Vec<u8>], options: &str) -> Vec<String> {
    let mut script = Vec::new();
    for name in names {
        script.extend(format!("dx_hash {options} \"").bytes());
        script.extend(name);
        script.extend(b"\"\n");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), script).unwrap();
    let output = Command::new("debugfs").arg("-f").arg(file.path()).output().expect("apt-get install e2fsprogs");
    let mut hashes = Vec::new();
    for line in output.stdout.split(|byte| *byte == b'\n') {
        if line.starts_with(b"Hash of ") {
            let text = String::from_utf8_lossy(line);
            hashes.push(text.rsplit(" is ").next().unwrap().to_owned());
        }
    }
    assert_eq!(hashes.len(), names.len(), "{}", String::from_utf8_lossy(&output.stderr));
    hashes
}

/// Every character that is folded or decomposed today or stands alone in a script, between marks and at the start.
#[test]
fn every_character_folds_as_in_e2fsprogs() {
    let planes = ('\u{80}'..='\u{ffff}')
        .chain('\u{10000}'..='\u{1ffff}')
        .chain('\u{2f800}'..='\u{2fa1f}')
        .chain('\u{e0000}'..='\u{e01ff}');
    // Those between are ideographs, private use and unassigned.
    let characters: Vec<char> = planes.filter(|c| !('\u{3400}'..='\u{9fff}').contains(c)).collect();
    // Hundreds in each name, so that all of them take a second; 255 bytes are the longest name.
    let names: Vec<Vec<u8>> = characters
        .chunks(20)
        .map(|chunk| chunk.iter().flat_map(|c| format!("Q\u{301}{c}\u{323}B").into_bytes()).collect())
        .collect();
    let folded: Vec<Vec<u8>> = names.iter().map(|name| fold(name).unwrap()).collect();
    let ours = hashes(&folded, "-h half_md4");
    let theirs = hashes(&names, "-h half_md4 -c -e utf8");
    for (i, chunk) in characters.chunks(20).enumerate() {
        assert_eq!(ours[i], theirs[i], "{:?}", chunk);
    }
}

#[test]
fn whole_names_fold_as_in_e2fsprogs() {
    let names = ["README", "Stra\u{df}e", "\u{c9}te\u{301}", "\u{1e9e}\u{130}\u{131}", "\u{ad55}\u{ad6d}", "\u{200d}x"];
    let names: Vec<Vec<u8>> = names.iter().map(|name| name.as_bytes().to_vec()).collect();
    let folded: Vec<Vec<u8>> = names.iter().map(|name| fold(name).unwrap()).collect();
    for hash in ["legacy", "half_md4", "tea"] {
        let theirs = hashes(&names, &format!("-h {hash} -c -e utf8"));
        assert_eq!(hashes(&folded, &format!("-h {hash}")), theirs);
        assert_ne!(hashes(&names, &format!("-h {hash}")), theirs, "the option has an effect");
    }
}
