//! Files that are written and removed on a loop mount.

use super::*;

/// Bytes that differ from block to block.
pub fn content(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

pub fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Path below the mount and hash of the content.
pub type Files = BTreeMap<String, String>;

/// 120 files of 0 B to 20 MB, some in many pieces, in a deep tree; returns the hash of each.
pub fn populate(root: &Path) -> Files {
    let sizes = [0, 1, 50, 100, 1000, 1024, 4095, 4096, 4097, 10_000, 50_000, 70_000, 200_000, 1_000_000, 3_000_000];
    let mut files = Files::new();
    let mut put = |path: String, bytes: &[u8]| {
        let host = root.join(&path);
        fs::create_dir_all(host.parent().unwrap()).unwrap();
        fs::write(&host, bytes).unwrap();
        files.insert(path, hash(bytes));
    };
    for index in 0..116 {
        let directory = match index % 4 {
            0 => String::new(),
            1 => format!("dir{}/", index % 7),
            2 => format!("tree/{}/{}/deep/er/", index % 5, index % 3),
            _ => "a/b/c/d/e/f/g/h/i/j/".to_owned(),
        };
        let len = sizes[index % sizes.len()] + index / 10;
        put(format!("{directory}file {index:03}"), &content(len, index as u64 + 1));
    }
    put("large/twenty megabytes.bin".into(), &content(20_000_000, 777));
    // Two files that grow in turns: many extents each.
    let pieces: Vec<(String, Vec<u8>)> = (0..2).map(|i| (format!("pieces{i}"), content(2_400_000, 900 + i))).collect();
    let open: Vec<File> = pieces.iter().map(|(path, _)| File::create(root.join(path)).unwrap()).collect();
    for start in (0..2_400_000).step_by(8000) {
        for (file, (_, bytes)) in open.iter().zip(&pieces) {
            file.write_all_at(&bytes[start..start + 8000], start as u64).unwrap();
            file.sync_data().unwrap();
        }
    }
    files.extend(pieces.into_iter().map(|(path, bytes)| (path, hash(&bytes))));
    // More extents than fit in an inode, with holes between.
    let sparse = File::create(root.join("sparse")).unwrap();
    for index in 0..600u64 {
        sparse.write_all_at(&content(1500, 2000 + index), index * 20_480).unwrap();
    }
    drop(sparse);
    files.insert("sparse".into(), hash(&fs::read(root.join("sparse")).unwrap()));
    assert_eq!(files.len(), 120);
    files
}

pub fn sync() {
    run("sync", &[]);
}

pub fn remove(root: &Path, files: &Files) {
    for (index, path) in files.keys().enumerate() {
        if index % 3 == 0 {
            fs::remove_file(root.join(path)).unwrap();
        }
    }
    for entry in fs::read_dir(root).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.ends_with("lost+found") || path.ends_with("keep") {
            continue;
        }
        let done = toolbox::command("rm").arg("-r").arg(&path).status().unwrap();
        assert!(done.success());
    }
}

/// Numbers that look random and are the same in every run.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}
