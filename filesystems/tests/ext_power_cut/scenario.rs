//! A sequence of operations, and what must be left of it wherever it is cut.

use std::sync::Arc;

use filesystems::{FileSystem, Options, ext};
use images::Disk;
use images::disk::{Access, Cut, Memory, PowerCut};

use super::ext_image::{Image, Mount, is_root, scratch};
use super::model::{Model, Operation, Rules, Seen, Tree, kept, tree};

/// Every so many cuts are looked at by e2fsck too, which takes much longer than we do.
const CHECKED: usize = 40;
/// And so many of them by the kernel, which mounts it.
const MOUNTED: usize = 120;
/// `s_state`: it need not be checked.
const STATE_VALID: u16 = 1;

/// What was there after some steps; if `durable`, because a sync said so.
struct Moment {
    steps: usize,
    tree: Tree,
    durable: bool,
    /// What was done last.
    what: String,
}

pub struct Scenario {
    disk: Arc<PowerCut>,
    moments: Vec<Moment>,
    rules: Rules,
}

fn bytes(disk: &dyn Disk) -> Vec<u8> {
    let mut bytes = vec![0; disk.size() as usize];
    disk.read_at(&mut bytes, 0).unwrap();
    bytes
}

fn open(disk: Arc<dyn Disk>, access: Access) -> Arc<dyn FileSystem> {
    let mut options = Options::default();
    options.access = access;
    Arc::new(ext::mount(disk, &options).unwrap())
}

/// Runs e2fsck; the image afterwards. Fails unless it needs to ask nothing, and finds nothing if `clean`.
fn e2fsck(bytes: &[u8], option: &str, clean: bool, when: &str) -> Vec<u8> {
    let directory = scratch();
    let path = directory.path().join("image");
    std::fs::write(&path, bytes).unwrap();
    let output = toolbox::command("e2fsck").args([option, path.to_str().unwrap()]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let status = output.status.code().unwrap();
    assert!(status == 0 || status == 1 && !clean, "{when}: e2fsck {option} ends with {status}: {said}");
    std::fs::read(&path).unwrap()
}

/// Opens what is left, which replays its journal onto it, and closes it.
fn check_by_us(left: &[u8], when: &str) {
    let disk = Arc::new(Memory::new("replayed", left.to_vec()));
    let fs = open(disk.clone(), Access::ReadWrite);
    fs.writer(fs.root()).and_then(|writer| writer.close()).unwrap_or_else(|error| panic!("{when}: {error}"));
    // While a journal is lent or given back, bits are left behind, and the superblock says so.
    if ext::superblock::Superblock::read(disk.as_ref()).unwrap().raw.s_state.get() & STATE_VALID != 0 {
        e2fsck(&bytes(disk.as_ref()), "-fn", true, &format!("{when}, replayed by us"));
    }
}

/// The model begins with an empty tree.
fn without_lost_and_found(empty: &[u8]) -> Vec<u8> {
    let disk = Arc::new(Memory::new("m", empty.to_vec()));
    let fs = open(disk.clone(), Access::ReadWrite);
    let writer = fs.writer(fs.root()).unwrap();
    writer.remove_dir(fs.root(), b"lost+found").unwrap();
    writer.close().unwrap();
    bytes(disk.as_ref())
}

impl Scenario {
    /// Does the operations on an empty file system; a sync comes after every few of them.
    pub fn run(empty: &[u8], operations: &[Operation], rules: Rules) -> Self {
        let disk = Arc::new(PowerCut::new("m", without_lost_and_found(empty)));
        let fs = open(disk.clone(), Access::ReadWrite);
        let (mut model, mut moments) = (Model::new(rules.clone()), Vec::new());
        let writer = fs.writer(fs.root()).unwrap();
        let mut note = |model: &Model, durable, what: String| {
            moments.push(Moment { steps: disk.steps(), tree: model.tree(), durable, what });
        };
        note(&model, true, "nothing".into());
        for (index, operation) in operations.iter().enumerate() {
            model.apply(fs.as_ref(), operation);
            note(&model, matches!(operation, Operation::Sync), format!("{operation:?}"));
            if index % 5 == 0 {
                writer.sync(None, false).unwrap();
                note(&model, true, format!("sync after {operation:?}"));
            }
        }
        model.close_all(fs.as_ref());
        writer.close().unwrap();
        note(&model, true, "close".into());
        e2fsck(&bytes(disk.as_ref()), "-fn", true, "closed");
        Self { disk, moments, rules }
    }

    pub fn check_all(&self, seed: u64, reordered: usize) {
        let in_order = self.disk.prefixes().map(|cut| (cut, "in order"));
        let in_any = self.disk.reordered(seed, reordered).map(|cut| (cut, "in any order"));
        for (index, (cut, how)) in in_order.chain(in_any).enumerate() {
            let (steps, left) = (cut.steps, bytes(&cut.disk));
            let Some((found, when)) = self.check(cut, how) else { continue };
            if index % CHECKED == 0 {
                check_by_us(&left, &when);
                self.check_by_e2fsck(&left, &found, &when);
            }
            if index % MOUNTED == 0 && is_root(&format!("the kernel's replay after {steps} steps")) {
                self.check_by_kernel(&left, &found, &when);
            }
        }
    }

    /// Looks at what is left by a replay in memory. Gives the tree, and what to call it.
    fn check(&self, cut: Cut, how: &str) -> Option<(Tree, String)> {
        let now = self.moments.iter().position(|moment| moment.steps >= cut.steps).unwrap_or(self.moments.len() - 1);
        let when = format!("{how}, cut after {} steps, in {}", cut.steps, self.moments[now].what);
        if ext::superblock::Superblock::read(&cut.disk).is_err() {
            // Every driver relies on it that the superblock is written as a whole.
            assert_eq!(how, "in any order", "{when}: a superblock that is damaged");
            return None;
        }
        let found = tree::read(open(Arc::new(cut.disk), Access::Read).as_ref(), &self.rules);
        let found = found.unwrap_or_else(|error| panic!("{when}: {error}"));
        self.check_tree(&found, cut.steps, now, &when);
        Some((found, when))
    }

    fn check_by_e2fsck(&self, left: &[u8], found: &Tree, when: &str) {
        let repaired = e2fsck(left, "-fp", false, when);
        e2fsck(&repaired, "-fn", true, &format!("{when}, replayed by e2fsck"));
        assert!(self.read(repaired) == *found, "{when}: e2fsck sees another tree");
    }

    fn check_by_kernel(&self, left: &[u8], found: &Tree, when: &str) {
        let directory = scratch();
        let image = Image { path: directory.path().join("image"), directory };
        std::fs::write(&image.path, left).unwrap();
        drop(Mount::new(&image, "rw"));
        assert!(self.read(image.bytes()) == *found, "{when}: the kernel leaves another tree");
    }

    fn read(&self, bytes: Vec<u8>) -> Tree {
        let tree = tree::read(open(Arc::new(Memory::new("m", bytes)), Access::Read).as_ref(), &self.rules);
        // e2fsck makes that anew.
        tree.unwrap().into_iter().filter(|(path, _)| path != "/lost+found").collect()
    }

    /// Each operation is whole or absent, and what was durable is there.
    fn check_tree(&self, found: &Tree, steps: usize, now: usize, when: &str) {
        let durable = self.moments.iter().rposition(|moment| moment.durable && moment.steps <= steps).unwrap_or(0);
        let candidates = &self.moments[durable..=(now + 1).min(self.moments.len() - 1)];
        let names = |tree: &Tree| tree.iter().map(|(path, seen)| (path.clone(), shape(seen))).collect::<Vec<_>>();
        let found_names = names(found);
        if !candidates.iter().any(|moment| names(&moment.tree) == found_names) {
            let wanted = names(&candidates[0].tree);
            panic!("{when}: a tree that there never was: {found_names:#?}, and last durable {wanted:#?}");
        }
        for (path, wanted) in kept(&self.moments[durable].tree, candidates.iter().map(|moment| &moment.tree)) {
            let found = found.get(&path).unwrap_or_else(|| panic!("{when}: {path} was durable, and is gone"));
            assert_eq!(found.content, wanted.content, "{when}: {path}");
        }
    }
}

/// What an operation changes as a whole.
fn shape(seen: &Seen) -> (filesystems::Kind, u32, u16, Vec<Vec<u8>>) {
    (seen.kind, seen.links, seen.permissions, seen.xattrs.keys().cloned().collect())
}
