//! The file system is used again after the delete: some files come back, and nothing wrong is called intact.

use super::*;

/// Every content that any file ever had, also in between.
#[derive(Default)]
struct History {
    hashes: std::collections::HashSet<String>,
    seed: u64,
}

impl History {
    fn fresh(&mut self, len: usize) -> Vec<u8> {
        self.seed += 1;
        content(len, self.seed)
    }

    fn note(&mut self, path: &Path) {
        self.hashes.insert(hash(&fs::read(path).unwrap()));
    }
}

/// Goes on using a file system: new files, overwriting, truncating, appending, deleting, renaming.
///
/// With `every_step` each step reaches the disk before the next.
fn go_on(
    root: &Path,
    history: &mut History,
    random: &mut Random,
    (steps, every_step): (u64, bool),
    prefix: &str,
    alive: &mut Vec<PathBuf>,
) -> Files {
    let mut deleted = Files::new();
    for step in 0..steps {
        match random.below(10) {
            0..=3 => {
                let sizes = [10, 3000, 4096, 9000, 40_000, 150_000, 600_000];
                let bytes = history.fresh(sizes[random.below(7) as usize] + random.below(50) as usize);
                let directory = root.join(format!("{prefix}{}", random.below(5)));
                fs::create_dir_all(&directory).unwrap();
                let path = directory.join(format!("new {step}"));
                fs::write(&path, bytes).unwrap();
                history.note(&path);
                alive.push(path);
            }
            4 | 5 if !alive.is_empty() => {
                let path = alive.swap_remove(random.below(alive.len() as u64) as usize);
                let relative = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                deleted.insert(relative, hash(&fs::read(&path).unwrap()));
                fs::remove_file(&path).unwrap();
            }
            6 if !alive.is_empty() => {
                let path = &alive[random.below(alive.len() as u64) as usize];
                let len = fs::metadata(path).unwrap().len();
                let part = history.fresh(1 + random.below(20_000) as usize);
                let file = File::options().write(true).open(path).unwrap();
                file.write_all_at(&part, random.below(len + 1)).unwrap();
                drop(file);
                history.note(path);
            }
            7 if !alive.is_empty() => {
                let path = &alive[random.below(alive.len() as u64) as usize];
                let len = fs::metadata(path).unwrap().len();
                File::options().write(true).open(path).unwrap().set_len(random.below(len + 1)).unwrap();
                history.note(path);
            }
            8 if !alive.is_empty() => {
                let index = random.below(alive.len() as u64) as usize;
                let to = root.join(format!("renamed {prefix} {step}"));
                fs::rename(&alive[index], &to).unwrap();
                alive[index] = to;
            }
            _ if random.below(3) == 0 => sync(),
            _ => {}
        }
        if every_step {
            sync();
        }
    }
    deleted
}

/// The file system is used again after the delete: some files come back, and nothing wrong is called intact.
fn used_again(options: &str, megabytes: u64, steps: (u64, bool), remounts: u64) {
    let Some(_one) = turn(options) else { return };
    for seed in 1..=2u64 {
        let image = Image::new(options, megabytes, None);
        let (mut history, mut random) = (History { seed: seed << 32, ..History::default() }, Random(seed * 77 + 5));
        let mut files = populate(&Mount::new(&image, "rw").path);
        remove(&Mount::new(&image, "rw").path, &files);
        // Files live through a mount or not, so that some can be promised.
        let mut alive = Vec::new();
        history.hashes.extend(files.values().cloned());
        for round in 0..=remounts {
            let mount = Mount::new(&image, "rw");
            let prefix = format!("used{round}-");
            files.extend(go_on(&mount.path, &mut history, &mut random, steps, &prefix, &mut alive));
            if round % 2 == 1 {
                // What the next round writes takes the place of what this one leaves.
                let half = (steps.0 / 2, steps.1);
                files.extend(go_on(&mount.path, &mut history, &mut random, half, "more-", &mut alive));
                let _ = fs::remove_dir_all(mount.path.join("more-1"));
                alive.retain(|path| path.exists());
            }
            sync();
            drop(mount);
            let fs = image.open();
            let name = format!("{options}, seed {seed}, used again {round}");
            let score = score(&name, &*fs, &files, &|_, hash| history.hashes.contains(hash));
            assert!(score.files >= 120);
        }
    }
}

#[test]
fn used_again_ext4() {
    used_again(
        "-t ext4 -b 4096 -O extent,64bit,flex_bg,metadata_csum,dir_index,has_journal,filetype -I 256 -J size=16",
        100,
        (300, false),
        2,
    );
}

#[test]
fn used_again_ext4_1k_small_journal() {
    used_again(
        "-t ext4 -b 1024 -O extent,64bit,flex_bg,metadata_csum,dir_index,has_journal,filetype -I 256 -J size=1",
        80,
        (500, false),
        2,
    );
}

#[test]
fn used_again_ext3() {
    used_again("-t ext3 -b 1024 -O has_journal,dir_index,filetype -I 256 -J size=2", 80, (300, false), 2);
}

#[test]
fn used_again_ext4_without_checksums() {
    used_again(
        "-t ext4 -b 4096 -O extent,^metadata_csum,dir_index,has_journal,filetype -I 256 -J size=4",
        100,
        (300, false),
        2,
    );
}

#[test]
fn used_again_bigalloc() {
    used_again(
        "-t ext4 -b 4096 -C 16384 -O bigalloc,extent,64bit,metadata_csum,dir_index,has_journal,filetype -I 256 -J size=4",
        100,
        (300, false),
        2,
    );
}

/// Every step in a transaction of its own: what is still there after all of them can be promised.
#[test]
fn used_again_step_by_step() {
    let options =
        "-t ext4 -b 4096 -O extent,64bit,flex_bg,metadata_csum,dir_index,has_journal,filetype -I 256 -J size=8";
    used_again(options, 100, (60, true), 1);
    used_again("-t ext3 -b 1024 -O has_journal,dir_index,filetype -I 256 -J size=1", 80, (60, true), 1);
}
