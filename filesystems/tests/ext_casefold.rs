//! Folded names against e2fsprogs: `dx_hash -c` of debugfs hashes the name as it folds it.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use filesystems::FileSystem;
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
    let output = toolbox::command("debugfs").arg("-f").arg(file.path()).output().unwrap();
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

/// A directory with the flag: equal folds are the same name, other names are not, and the directory keeps its spelling.
#[test]
fn lookup_in_a_directory() {
    let dir = tempfile::TempDir::new().unwrap();
    let image = dir.path().join("casefold.img");
    std::fs::File::create(&image).unwrap().set_len(8 << 20).unwrap();
    toolbox::run(toolbox::command("mke2fs").args(["-q", "-F", "-t", "ext4", "-O", "casefold"]).arg(&image));
    // Set while the directory is empty, as chattr +F demands; debugfs writes linear directories.
    let script = dir.path().join("script");
    let names = ["ReadMe.TXT", "Stra\u{df}e", "\u{c9}te\u{301}", "invalid \u{fffd}"];
    let mut requests = "mkdir plain\nmkdir fold\nsif fold flags 0x40080000\n".to_owned();
    for name in names {
        requests += &format!("write /dev/null \"/fold/{name}\"\nwrite /dev/null \"/plain/{name}\"\n");
    }
    std::fs::write(&script, requests).unwrap();
    toolbox::run(toolbox::command("debugfs").args(["-w", "-f"]).args([&script, &image]));

    let disk = images::disk::HostFile::new(&image, std::fs::File::open(&image).unwrap()).unwrap();
    let fs = filesystems::ext::mount(std::sync::Arc::new(disk), &Default::default()).unwrap();
    let fold = fs.lookup(fs.root(), b"fold").unwrap();
    let plain = fs.lookup(fs.root(), b"plain").unwrap();
    let others = ["README.txt", "STRASSE", "e\u{301}T\u{c9}", "INVALID \u{fffd}"];
    for (name, other) in names.iter().zip(others) {
        let node = fs.lookup(fold, name.as_bytes()).unwrap();
        assert_eq!(fs.lookup(fold, other.as_bytes()).unwrap(), node, "{name} is {other}");
        assert!(fs.lookup(plain, name.as_bytes()).is_ok() && fs.lookup(plain, other.as_bytes()).is_err(), "{name}");
    }
    for other in ["readme", "Strase", "ete", "FOLD", "\u{fffd}"] {
        assert!(fs.lookup(fold, other.as_bytes()).is_err(), "{other}");
    }
    assert!(fs.lookup(fs.root(), b"FOLD").is_err());
    let mut listed = Vec::new();
    fs.read_dir(fold, 0, &mut |entry| {
        listed.push(String::from_utf8(entry.name.to_vec()).unwrap());
        true
    })
    .unwrap();
    assert_eq!(listed, names);
}
