//! A file system that is used for a while: the kernel writes files, appends to them, cuts, replaces, moves and deletes
//! them and writes new ones, in rounds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustix::fs::FallocateFlags;

use super::hash_of_bytes;
use crate::command::{command, run as run_command};
use crate::mount::KernelMount;
use crate::specimen::Noise;

/// The size of an image in bytes: what is new has to take the place of what was deleted.
const SIZE: u64 = 64 << 20;
/// How many files there are at first, in so many directories.
const FILES: u64 = 300;
const DIRECTORIES: u64 = 24;
const ROUNDS: u64 = 6;
/// After one step in so many all is written to the disk.
const SYNC_EVERY: u64 = 12;
/// Files that grow in turns, how often in a round, and by how many bytes.
const LOGS: u64 = 3;
const TURNS: u64 = 6;
const LINES: usize = 3000;
/// How many bytes are reserved for a file.
const RESERVED: u64 = 60_000;

/// What is done in a round.
#[derive(Clone, Copy)]
enum Step {
    Delete,
    DeleteDirectory,
    Append,
    /// Appends behind a hole.
    AppendApart,
    /// Gives a file more space than it has content.
    Reserve,
    Cut,
    Overwrite,
    /// Writes a new file and moves it over the old one, as editors do.
    Replace,
    Move,
    Write,
}

/// How often each is done in a round.
const STEPS: &[(Step, usize)] = &[
    (Step::Delete, 25),
    (Step::DeleteDirectory, 1),
    (Step::Append, 16),
    (Step::AppendApart, 2),
    (Step::Reserve, 2),
    (Step::Cut, 6),
    (Step::Overwrite, 5),
    (Step::Replace, 6),
    (Step::Move, 12),
    (Step::Write, 45),
];

/// What became of the file that had a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// The file was deleted with this content.
    Deleted,
    /// The file was changed, and deleted later.
    ChangedAndDeleted,
    /// The file was changed, and lives.
    Changed,
}

/// A content that a file had when all was written to the disk, and that no file has now.
pub struct Content {
    pub hash: String,
    pub bytes: Arc<[u8]>,
    /// The file's path at that time.
    pub path: String,
    pub fate: Fate,
}

/// All that is known of an image's past.
pub struct Past {
    pub contents: Vec<Content>,
    pub ever: Ever,
}

/// Every content that files ever had, also in between, and every path.
#[derive(Default)]
pub struct Ever {
    contents: BTreeSet<(String, u64)>,
    paths: BTreeMap<String, BTreeSet<u64>>,
}

impl Ever {
    fn note(&mut self, path: &str, id: u64, hash: &str) {
        self.contents.insert((hash.to_owned(), id));
        self.paths.entry(path.to_owned()).or_default().insert(id);
    }

    /// Whether a file of this path had this content; any file, if there was no such path.
    pub fn was(&self, path: &str, hash: &str) -> bool {
        match self.paths.get(path) {
            Some(ids) => ids.iter().any(|id| self.contents.contains(&(hash.to_owned(), *id))),
            None => self.contents.range((hash.to_owned(), 0)..).next().is_some_and(|(same, _)| same == hash),
        }
    }
}

/// A file that lives.
struct Living {
    id: u64,
    bytes: Arc<[u8]>,
    hash: String,
    /// All of it was written to the disk since it changed.
    on_disk: bool,
}

struct User {
    mount: KernelMount,
    noise: Noise,
    files: BTreeMap<String, Living>,
    count: u64,
    /// By the file, what was on the disk, and under which path.
    past: Vec<(u64, String, Arc<[u8]>, String)>,
    known: BTreeSet<String>,
    /// The last content of files that were deleted.
    last: HashMap<u64, String>,
    ever: Ever,
}

/// Makes an image, the same steps every time for a seed. Where the kernel puts them differs a little from run to run.
///
/// With `running` the image is taken while it is mounted, and in the middle of a transaction.
pub fn make(image: &Path, mke2fs: &[&str], options: &str, running: bool, seed: u64) -> Result<Past> {
    File::create(image)?.set_len(SIZE)?;
    run_command(command("mke2fs", ["-q", "-F"]).args(mke2fs).arg(image))?;
    let mut user = User {
        mount: KernelMount::new(image, None, options)?,
        noise: Noise::new(seed),
        files: BTreeMap::new(),
        count: 0,
        past: Vec::new(),
        known: BTreeSet::new(),
        last: HashMap::new(),
        ever: Ever::default(),
    };
    for _ in 0..FILES {
        user.write()?;
    }
    user.sync()?;
    for round in 0..ROUNDS {
        user.round()?;
        if round % 2 == 1 {
            user.mount.unmount()?;
            user.mount = KernelMount::new(image, None, options)?;
        }
    }
    if running {
        user.delete()?;
        user.sync()?;
        user.write()?;
        let copy = image.with_extension("running");
        fs::copy(image, &copy)?;
        user.mount.unmount()?;
        fs::rename(copy, image)?;
    } else {
        user.mount.unmount()?;
    }
    let alive: HashMap<&str, u64> = user.files.values().map(|file| (&*file.hash, file.id)).collect();
    let ids: BTreeSet<u64> = user.files.values().map(|file| file.id).collect();
    let mut contents = Vec::new();
    for (id, hash, bytes, path) in user.past {
        let fate = match user.last.get(&id) {
            _ if alive.contains_key(&*hash) => continue,
            _ if ids.contains(&id) => Fate::Changed,
            Some(last) if *last == hash => Fate::Deleted,
            _ => Fate::ChangedAndDeleted,
        };
        contents.push(Content { hash, bytes, path, fate });
    }
    Ok(Past { contents, ever: user.ever })
}

impl User {
    fn round(&mut self) -> Result<()> {
        let mut steps: Vec<Step> = STEPS.iter().flat_map(|(step, times)| std::iter::repeat_n(*step, *times)).collect();
        for at in (1..steps.len()).rev() {
            steps.swap(at, self.below(at as u64 + 1) as usize);
        }
        for step in steps {
            match step {
                Step::Delete => self.delete()?,
                Step::DeleteDirectory => self.delete_directory()?,
                Step::Append => self.append()?,
                Step::AppendApart => self.append_apart()?,
                Step::Reserve => self.reserve()?,
                Step::Cut => self.cut()?,
                Step::Overwrite => self.overwrite()?,
                Step::Replace => self.replace()?,
                Step::Move => self.rename()?,
                Step::Write => self.write()?,
            }
            if self.below(SYNC_EVERY) == 0 {
                self.sync()?;
            }
        }
        for turn in 0..TURNS * LOGS {
            // No two are of one size.
            let lines = LINES + self.below(LINES as u64) as usize;
            let path = format!("logs/log-{}", turn % LOGS);
            self.grow(&path, lines)?;
            File::open(self.mount.path().join(&path))?.sync_all()?;
            self.reached_disk(Some(&path));
        }
        // A log is deleted in the end of every other round.
        if self.below(2) == 0 {
            let path = format!("logs/log-{}", self.below(LOGS));
            self.remove(&path)?;
        }
        self.sync()
    }

    fn below(&mut self, end: u64) -> u64 {
        self.noise.next() % end
    }

    fn any(&mut self) -> Option<String> {
        let at = self.below(self.files.len().max(1) as u64) as usize;
        self.files.keys().nth(at).cloned()
    }

    fn size(&mut self) -> usize {
        const SIZES: [u64; 12] = [16, 40, 100, 800, 3000, 4080, 9000, 20_000, 40_000, 90_000, 200_000, 500_000];
        let size = SIZES[self.below(SIZES.len() as u64) as usize];
        (size + self.below(size / 4 + 20)) as usize
    }

    fn new_path(&mut self) -> String {
        self.count += 1;
        let directory = self.below(DIRECTORIES);
        match directory % 3 {
            0 => format!("home/{directory}/deep/file-{}.txt", self.count),
            _ => format!("home/{directory}/file-{}.txt", self.count),
        }
    }

    fn note(&mut self, path: &str, id: u64, bytes: Vec<u8>) {
        let hash = hash_of_bytes(&bytes);
        self.ever.note(path, id, &hash);
        self.files.insert(path.to_owned(), Living { id, bytes: bytes.into(), hash, on_disk: false });
    }

    /// Writes all to the disk, and notes what is there.
    fn sync(&mut self) -> Result<()> {
        rustix::fs::syncfs(File::open(self.mount.path())?)?;
        self.reached_disk(None);
        Ok(())
    }

    /// Notes the content of a file, or of all, that is on the disk now.
    fn reached_disk(&mut self, only: Option<&str>) {
        let files = self.files.iter_mut().filter(|(path, _)| only.is_none_or(|only| **path == only));
        for (path, file) in files.filter(|(_, file)| !file.on_disk) {
            file.on_disk = true;
            if !file.bytes.is_empty() && self.known.insert(file.hash.clone()) {
                self.past.push((file.id, file.hash.clone(), file.bytes.clone(), path.clone()));
            }
        }
    }

    fn write(&mut self) -> Result<()> {
        let (path, size) = (self.new_path(), self.size());
        let bytes = self.noise.bytes(size);
        self.write_to(&path, &bytes)?;
        let id = self.count;
        self.note(&path, id, bytes);
        Ok(())
    }

    fn write_to(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let path = self.mount.path().join(path);
        fs::create_dir_all(path.parent().context("a path in a directory")?)?;
        Ok(fs::write(path, bytes)?)
    }

    fn delete(&mut self) -> Result<()> {
        self.any().map_or(Ok(()), |path| self.remove(&path))
    }

    fn remove(&mut self, path: &str) -> Result<()> {
        fs::remove_file(self.mount.path().join(path))?;
        self.forget(path);
        Ok(())
    }

    fn forget(&mut self, path: &str) {
        if let Some(file) = self.files.remove(path) {
            self.last.insert(file.id, file.hash);
        }
    }

    fn delete_directory(&mut self) -> Result<()> {
        let directory = format!("home/{}", self.below(DIRECTORIES));
        let inside = format!("{directory}/");
        let paths: Vec<String> = self.files.keys().filter(|path| path.starts_with(&inside)).cloned().collect();
        if !paths.is_empty() {
            fs::remove_dir_all(self.mount.path().join(directory))?;
        }
        paths.iter().for_each(|path| self.forget(path));
        Ok(())
    }

    fn append(&mut self) -> Result<()> {
        let (path, size) = (self.any().context("files are left")?, self.size() / 3 + 1);
        self.grow(&path, size)
    }

    fn grow(&mut self, path: &str, size: usize) -> Result<()> {
        let part = self.noise.bytes(size);
        let Some(file) = self.files.get(path) else {
            self.count += 1;
            self.write_to(path, &part)?;
            let id = self.count;
            self.note(path, id, part);
            return Ok(());
        };
        File::options().append(true).open(self.mount.path().join(path))?.write_all(&part)?;
        let (id, bytes) = (file.id, [&file.bytes[..], &part].concat());
        self.note(path, id, bytes);
        Ok(())
    }

    fn append_apart(&mut self) -> Result<()> {
        let (path, hole) = (self.any().context("files are left")?, self.below(40_000) as usize);
        let part = self.noise.bytes(2500);
        let Some(file) = self.files.get(&path) else { return Ok(()) };
        let (id, start) = (file.id, file.bytes.len() + hole);
        let mut bytes = file.bytes.to_vec();
        bytes.resize(start, 0);
        bytes.extend_from_slice(&part);
        File::options().write(true).open(self.mount.path().join(&path))?.write_all_at(&part, start as u64)?;
        self.note(&path, id, bytes);
        Ok(())
    }

    fn reserve(&mut self) -> Result<()> {
        let path = self.any().context("files are left")?;
        let Some(file) = self.files.get(&path) else { return Ok(()) };
        let size = file.bytes.len() as u64;
        let open = File::options().write(true).open(self.mount.path().join(&path))?;
        match rustix::fs::fallocate(&open, FallocateFlags::KEEP_SIZE, size, RESERVED) {
            // ext3 has no blocks without content.
            Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            done => Ok(done?),
        }
    }

    fn cut(&mut self) -> Result<()> {
        let path = self.any().context("files are left")?;
        let Some(file) = self.files.get(&path) else { return Ok(()) };
        let (id, mut bytes) = (file.id, file.bytes.to_vec());
        bytes.truncate(self.below(bytes.len() as u64 + 1) as usize);
        File::options().write(true).open(self.mount.path().join(&path))?.set_len(bytes.len() as u64)?;
        self.note(&path, id, bytes);
        Ok(())
    }

    fn overwrite(&mut self) -> Result<()> {
        let path = self.any().context("files are left")?;
        let Some(file) = self.files.get(&path) else { return Ok(()) };
        let (id, mut bytes) = (file.id, file.bytes.to_vec());
        let start = self.below(bytes.len() as u64 + 1) as usize;
        let len = (bytes.len() - start).min(5000);
        let part = self.noise.bytes(len);
        bytes[start..start + len].copy_from_slice(&part);
        File::options().write(true).open(self.mount.path().join(&path))?.write_all_at(&part, start as u64)?;
        self.note(&path, id, bytes);
        Ok(())
    }

    fn replace(&mut self) -> Result<()> {
        let (path, size) = (self.any().context("files are left")?, self.size());
        let bytes = self.noise.bytes(size);
        let temporary = format!("{path}.new");
        self.write_to(&temporary, &bytes)?;
        self.count += 1;
        let id = self.count;
        self.ever.note(&temporary, id, &hash_of_bytes(&bytes));
        let root = self.mount.path();
        fs::rename(root.join(temporary), root.join(&path))?;
        self.forget(&path);
        self.note(&path, id, bytes);
        Ok(())
    }

    fn rename(&mut self) -> Result<()> {
        let (from, to) = (self.any().context("files are left")?, self.new_path());
        let root = self.mount.path();
        let target = root.join(&to);
        fs::create_dir_all(target.parent().context("a path in a directory")?)?;
        fs::rename(root.join(&from), target)?;
        if let Some(file) = self.files.remove(&from) {
            self.ever.note(&to, file.id, &file.hash);
            self.files.insert(to, file);
        }
        Ok(())
    }
}
