//! The power is cut at every write, and between flushes what was written arrives in any order.

use std::sync::Arc;

use filesystems::{NewContent, NodeId, Rename};
use images::disk::PowerCut;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, TestRng, TestRunner};

use super::checked::{assert_clean, bytes};
use super::checker::check;
use super::model::sequences;
use super::model::{Model, Operation, Rules, Tree, kept, operations, tree};
use super::sequences::rules;
use super::{new, open, open_to_write, volume};

/// What was there after some steps; if `durable`, because a sync said so.
struct Moment {
    steps: usize,
    tree: Tree,
    durable: bool,
    /// How many files were open that had no name.
    unnamed: usize,
    /// What was done last.
    what: String,
}

/// What is in the file systems that the cuts leave: as much as it must be, and only so much wrong as may be.
struct Scenario {
    disk: Arc<PowerCut>,
    moments: Vec<Moment>,
    /// How many chains may be lost, beside those of open files without a name.
    lost_max: usize,
}

impl Scenario {
    fn check(&self, cut: images::disk::Cut, when: &str) {
        let now = self.moments.iter().position(|moment| moment.steps >= cut.steps).unwrap_or(0);
        let when = format!("{when}, cut after {} steps, in {}", cut.steps, self.moments[now].what);
        let leaks = check(&bytes(&cut.disk), &when);
        let unnamed = self.moments[now.saturating_sub(1)..=now].iter().map(|moment| moment.unnamed).max();
        assert!(leaks.lost_chains <= self.lost_max.saturating_add(unnamed.unwrap_or(0)), "{when}: {leaks:?}");
        // What was durable and not touched since is there.
        let Some(last) = self.moments.iter().rposition(|moment| moment.durable && moment.steps <= cut.steps) else {
            return;
        };
        let until = self.moments[last..].iter().position(|moment| moment.steps >= cut.steps && !moment.durable);
        let after = &self.moments
            [last + 1..until.map_or(self.moments.len(), |index| (last + index + 2).min(self.moments.len()))];
        let must = kept(&self.moments[last].tree, after.iter().map(|moment| &moment.tree));
        let fs = open(Arc::new(cut.disk), &filesystems::Options::default()).unwrap();
        let found = tree::read(fs.as_ref(), &rules()).unwrap_or_else(|error| panic!("{when}: {error}"));
        for (path, wanted) in must {
            let found = found.get(&path).unwrap_or_else(|| panic!("{when}: {path} was durable, and is gone"));
            assert_eq!((found.kind, &found.content), (wanted.kind, &wanted.content), "{when}: {path}");
        }
    }

    fn check_all(&self, seed: u64, cuts: usize) {
        self.disk.prefixes().for_each(|cut| self.check(cut, "in order"));
        self.disk.reordered(seed, cuts).for_each(|cut| self.check(cut, "in any order"));
    }
}

fn run(empty: &[u8], operations: &[Operation], sync_each: bool) -> Scenario {
    let disk = Arc::new(PowerCut::new("m", empty.to_vec()));
    let fs = open_to_write(disk.clone());
    let (mut model, mut moments) = (Model::new(rules()), Vec::new());
    let mut lost_max = 1;
    for operation in operations {
        model.apply(fs.as_ref(), operation);
        let is_sync = matches!(operation, Operation::Sync);
        let what = format!("{operation:?}");
        moments.push(Moment {
            steps: disk.steps(),
            tree: model.tree(),
            durable: is_sync,
            unnamed: model.unnamed(),
            what: what.clone(),
        });
        if sync_each && !is_sync {
            fs.writer(fs.root()).unwrap().sync(None, false).unwrap();
            moments.push(Moment {
                steps: disk.steps(),
                tree: model.tree(),
                durable: true,
                unnamed: model.unnamed(),
                what: what.clone(),
            });
        }
    }
    if !sync_each {
        lost_max = usize::MAX;
    }
    let what = "close".to_owned();
    model.close_all(fs.as_ref());
    fs.writer(fs.root()).unwrap().close().unwrap();
    moments.push(Moment {
        steps: disk.steps(),
        tree: model.tree(),
        durable: true,
        unnamed: model.unnamed(),
        what: what.clone(),
    });
    assert_clean(&bytes(disk.as_ref()), "closed");
    Scenario { disk, moments, lost_max }
}

fn cuts(kilobytes: u64, args: &[&str], few: u32, sync_each: bool) {
    let empty = volume(kilobytes, args);
    for seed in 0..sequences(few) {
        let rng = TestRng::from_seed(proptest::test_runner::RngAlgorithm::ChaCha, &[seed.to_le_bytes(); 8].concat());
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let small = Rules { file_max: 6000, ..rules() };
        let operations = operations(&small, 40).new_tree(&mut runner).unwrap().current();
        run(&empty, &operations, sync_each).check_all(seed.into(), 150);
    }
}

/// One chain is lost at most where each operation is made durable before the next.
#[test]
fn one_operation_at_a_time() {
    cuts(400, &["-F", "12", "-s", "1"], 6, true);
    cuts(4400, &["-F", "16", "-s", "2"], 3, true);
}

/// Where many operations are made durable together, only those of them lose anything.
#[test]
fn many_operations_at_once() {
    cuts(4400, &["-F", "16", "-s", "2"], 4, false);
}

/// A file is written next to another, and takes its name: the other one is there until the new one is, whole.
#[test]
fn a_file_that_replaces_another_is_whole() {
    let empty = volume(4400, &["-F", "16", "-s", "2"]);
    let disk = Arc::new(PowerCut::new("m", empty));
    let fs = open_to_write(disk.clone());
    let writer = fs.writer(fs.root()).unwrap();
    let make = |dir: NodeId, name: &[u8], content: &[u8]| {
        let file = writer.create(dir, name, &new(NewContent::File)).unwrap();
        writer.write_at(file, content, 0).unwrap();
    };
    let dir = writer.create(fs.root(), b"a directory", &new(NewContent::Directory)).unwrap();
    make(dir, b"the file itself.text", &[1; 5000]);
    (0..40).for_each(|number| make(dir, format!("another file {number}").as_bytes(), b""));
    make(dir, b"the new one.text", &[2; 6000]);
    writer.sync(None, false).unwrap();
    let before = disk.steps();
    writer.rename((dir, b"the new one.text"), (dir, b"the file itself.text"), Rename::Replace).unwrap();
    writer.sync(None, false).unwrap();
    let after = disk.steps();
    writer.close().unwrap();
    for cut in disk.prefixes().chain(disk.reordered(1, 300)).filter(|cut| cut.steps >= before) {
        let when = format!("after {} steps of {before} to {after}", cut.steps);
        let leaks = check(&bytes(&cut.disk), &when);
        assert!(leaks.lost_chains <= 1 && leaks.too_long == 0, "{when}: {leaks:?}");
        let steps = cut.steps;
        let fs = open(Arc::new(cut.disk), &filesystems::Options::default()).unwrap();
        let file = filesystems::resolve(fs.as_ref(), b"/a directory/the file itself.text", true).unwrap();
        let content = filesystems::read_file(fs.as_ref(), file, 1 << 20).unwrap();
        assert!(content == [1; 5000] && steps < after || content == [2; 6000], "{when}: {} bytes", content.len());
    }
}
