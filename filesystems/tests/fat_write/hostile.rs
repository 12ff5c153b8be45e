//! Volumes that lie, written all the same: errors are answers, a panic and a hang are not.

use filesystems::{Allocation, Changes, FileSystem, Kind, NewContent, NodeId, Options, Rename};
use images::disk::Access;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRng, TestRunner};

use super::checked::{bytes, memory};
use super::model::sequences;
use super::{new, open, open_to_write, volume};

/// A volume with something of everything.
fn sample(args: &[&str], kilobytes: u64) -> Vec<u8> {
    let disk = memory(volume(kilobytes, args));
    let fs = open_to_write(disk.clone());
    let writer = fs.writer(fs.root()).unwrap();
    let mut dir = fs.root();
    for depth in 0..3 {
        for number in 0..20 {
            let name = format!("file {number} of {depth}");
            let file = writer.create(dir, name.as_bytes(), &new(NewContent::File)).unwrap();
            writer.write_at(file, &vec![1; number * 300], 0).unwrap();
        }
        dir = writer.create(dir, b"a directory", &new(NewContent::Directory)).unwrap();
    }
    writer.close().unwrap();
    bytes(disk.as_ref())
}

/// Nodes of a tree: not all, if it has no end.
fn nodes(fs: &dyn FileSystem) -> Vec<(NodeId, Vec<u8>, NodeId, Option<Kind>)> {
    let (mut all, mut directories) = (Vec::new(), vec![fs.root()]);
    while let Some(dir) = directories.pop() {
        let _ = fs.read_dir(dir, 0, &mut |entry| {
            all.push((dir, entry.name.to_vec(), entry.node, entry.kind));
            if entry.kind == Some(Kind::Directory) {
                directories.push(entry.node);
            }
            all.len() < 150
        });
        if all.len() >= 150 {
            break;
        }
    }
    all
}

/// Does what the numbers say to what there is.
fn change(fs: &dyn FileSystem, numbers: &[u16]) {
    let Ok(writer) = fs.writer(fs.root()) else { return };
    let all = nodes(fs);
    for (step, number) in numbers.iter().enumerate() {
        let number = usize::from(*number);
        let Some((dir, name, node, kind)) = all.get(number / 16 % all.len().max(1)) else { break };
        let other = &all[number / 7 % all.len()];
        let to = if other.3 == Some(Kind::Directory) { other.2 } else { fs.root() };
        let made = format!("made {step}");
        let done = match number % 12 {
            0 => writer.create(to, made.as_bytes(), &new(NewContent::File)).map(drop),
            1 => writer.create(to, made.as_bytes(), &new(NewContent::Directory)).map(drop),
            2 | 3 => writer.remove(*dir, name),
            4 => writer.remove_dir(*dir, name),
            5 => writer.rename((*dir, name), (to, made.as_bytes()), Rename::NoReplace),
            6 => writer.rename((*dir, name), (other.0, &other.1), Rename::Replace),
            7 => writer.write_at(*node, &vec![9; number % 5000], (number % 9000) as u64),
            8 => writer.set_stat(*node, &Changes { size: Some((number % 20_000) as u64), ..Changes::default() }),
            9 => writer.allocate(*node, 0..(number % 9000) as u64 + 1, Allocation::KeepSize),
            10 => writer.sync(None, number % 24 == 10),
            _ => fs.read_at(*node, &mut [0; 5000], 0).map(drop),
        };
        if let Err(error) = done {
            assert!(!error.to_string().contains(char::is_control), "{error}");
        }
        if kind.is_none() {
            break;
        }
    }
    let _ = writer.close();
}

#[test]
fn nothing_that_a_volume_says_makes_the_writer_panic() {
    for (args, kilobytes) in
        [(&["-F", "12", "-s", "1"][..], 400), (&["-F", "16", "-s", "1"], 4400), (&["-F", "32", "-s", "1"], 34 << 10)]
    {
        let sample = sample(args, kilobytes);
        // What is worth changing: what is not one value repeated.
        let differs = |chunk: &&[u8]| chunk.iter().any(|byte| *byte != chunk[0]);
        let chunks: Vec<usize> =
            sample.chunks(32).enumerate().filter(|(_, chunk)| differs(chunk)).map(|(at, _)| at * 32).collect();
        let config = Config { cases: 10 * sequences(15), failure_persistence: None, ..Config::default() };
        let rng = TestRng::deterministic_rng(Default::default());
        let changes =
            prop::collection::vec((any::<prop::sample::Index>(), 0..32usize, prop_oneof![any::<u8>(), 0..16u8]), 1..12);
        let all = (changes, prop::collection::vec(any::<u16>(), 60));
        TestRunner::new_with_rng(config, rng)
            .run(&all, |(changes, numbers)| {
                let mut hostile = sample.clone();
                for (chunk, inside, value) in &changes {
                    hostile[chunks[chunk.index(chunks.len())] + inside] = *value;
                }
                let mut options = Options::default();
                options.access = Access::ReadWrite;
                if let Ok(fs) = open(memory(hostile), &options) {
                    change(fs.as_ref(), &numbers);
                }
                Ok(())
            })
            .unwrap_or_else(|error| panic!("{error}"));
    }
}

/// A file whose chain is a circle is not written behind its end, and its clusters are freed once.
#[test]
fn a_chain_that_is_a_circle() {
    let mut bytes = sample(&["-F", "16", "-s", "1"], 4400);
    let fs = open(memory(bytes.clone()), &Options::default()).unwrap();
    let file = fs.lookup(fs.root(), b"file 19 of 0").unwrap();
    let at = file.0 as usize * 32;
    let first = u16::from_le_bytes([bytes[at + 26], bytes[at + 27]]);
    let fat = usize::from(u16::from_le_bytes([bytes[14], bytes[15]])) * 512;
    let link = fat + (usize::from(first) + 11) * 2;
    bytes[link..link + 2].copy_from_slice(&first.to_le_bytes());
    let fs = open_to_write(memory(bytes));
    let writer = fs.writer(fs.root()).unwrap();
    let file = fs.lookup(fs.root(), b"file 19 of 0").unwrap();
    let error = writer.write_at(file, &[1; 9000], 0).unwrap_err();
    assert!(error.to_string().contains("leads back"), "{error}");
    let free = fs.space(fs.root()).unwrap().blocks_free;
    writer.remove(fs.root(), b"file 19 of 0").unwrap();
    fs.holds().unwrap().forget(file, 1);
    writer.close().unwrap();
    assert_eq!(fs.space(fs.root()).unwrap().blocks_free, free + 12);
}
