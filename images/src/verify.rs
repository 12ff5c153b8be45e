//! Whether the hashes that an image stores are right.

use std::sync::Arc;

use crate::format::Request;
use crate::gate::Gate;
use crate::image::{self, Options};
use crate::length::in_memory;
use crate::{Disk, Error, Result, ResultExt};

pub use crate::stored::{Algorithm, Stored, hex};

/// How much is read at a time, in bytes.
const PIECE: u64 = 1 << 20;

/// What came of it.
#[derive(Debug)]
pub enum Outcome {
    /// The hash is right.
    Same,
    /// It is not: this is the hash of what is there.
    Differs(Vec<u8>),
    /// What it is of could not be read.
    Unreadable(Error),
}

/// The hashes that the image at `path` stores. Empty if it has none, or if its format cannot have any.
pub fn stored(path: &std::path::Path, options: &Options) -> Result<Vec<Stored>> {
    let found = image::recognised(path, options)?;
    let Some(read) = found.format.and_then(|format| format.hashes) else { return Ok(Vec::new()) };
    let gate = Gate::new(&found, options.rules(), None)?;
    let request = Request { opener: &gate, snapshot: options.snapshot.as_deref(), budget: &options.budget };
    read(found.origin.disk(), &request).within(&found.origin)
}

/// How many bytes [`check`] reads at most.
pub fn size(stored: &[Stored]) -> u64 {
    let sizes = groups(stored).into_iter().map(|group| stored[group[0]].bytes.as_ref().map_or(0, |disk| disk.size()));
    sizes.fold(0, u64::saturating_add)
}

/// Computes the hashes of what is there, and compares: an outcome for each of `stored`. What has several hashes is read
/// once. `progress` is told how many bytes were read since it was told before.
pub fn check(stored: &[Stored], progress: &mut dyn FnMut(u64)) -> Vec<Outcome> {
    let mut outcomes: Vec<Option<Outcome>> = stored.iter().map(|_| None).collect();
    for group in groups(stored) {
        let mut hashes: Vec<_> = group.iter().map(|index| stored[*index].algorithm.start()).collect();
        let read = match &stored[group[0]].bytes {
            Ok(disk) => read_all(&**disk, &mut |bytes| {
                hashes.iter_mut().for_each(|hash| hash.update(bytes));
                progress(bytes.len() as u64);
            }),
            Err(error) => Err(Error::Unknown(error.to_string())),
        };
        let read = read.map_err(Arc::new);
        for (index, hash) in group.into_iter().zip(hashes) {
            let found = hash.finalize().to_vec();
            outcomes[index] = Some(match &read {
                Ok(()) if found == stored[index].value => Outcome::Same,
                Ok(()) => Outcome::Differs(found),
                Err(error) => Outcome::Unreadable(Error::Shared(error.clone())),
            });
        }
    }
    outcomes.into_iter().flatten().collect()
}

/// The hashes that are of the same bytes, by their indices.
fn groups(stored: &[Stored]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (index, one) in stored.iter().enumerate() {
        let same = |group: &&mut Vec<usize>| match (&stored[group[0]].bytes, &one.bytes) {
            (Ok(first), Ok(disk)) => Arc::ptr_eq(first, disk),
            _ => false,
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(index),
            None => groups.push(vec![index]),
        }
    }
    groups
}

fn read_all(disk: &dyn Disk, each: &mut dyn FnMut(&[u8])) -> Result<()> {
    let mut buf = vec![0; in_memory(PIECE.min(disk.size()))];
    let mut at = 0;
    while at < disk.size() {
        let len = (disk.size() - at).min(PIECE) as usize;
        disk.read_at(&mut buf[..len], at)?;
        each(&buf[..len]);
        at += len as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Memory;

    #[test]
    fn each_hash_is_computed_and_each_disk_is_read_once() {
        // The values are those of the specifications for "abc".
        let abc: Arc<dyn Disk> = Arc::new(Memory::new("abc", b"abc".to_vec()));
        let bytes =
            |hex: &str| (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let md5: Vec<u8> = bytes("900150983cd24fb0d6963f7d28e17f72");
        let sha1: Vec<u8> = bytes("a9993e364706816aba3e25717850c26c9cd0d89d");
        let sha256: Vec<u8> = bytes("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let gone = Err(Error::NotFound);
        let stored = [
            Stored::of_disk(Algorithm::Md5, md5.clone(), abc.clone()),
            Stored::of_disk(Algorithm::Sha1, vec![0; 20], abc.clone()),
            Stored::of_file("gone".into(), Algorithm::Sha1, sha1.clone(), gone),
            Stored::of_disk(Algorithm::Sha256, sha256, abc.clone()),
            Stored::of_disk(Algorithm::Sha512, vec![], abc),
        ];
        let mut read = 0;
        let outcomes = check(&stored, &mut |bytes| read += bytes);
        assert!(
            matches!(&outcomes[..], [
            Outcome::Same,
            Outcome::Differs(found),
            Outcome::Unreadable(_),
            Outcome::Same,
            Outcome::Differs(long),
        ] if *found == sha1 && long.len() == 64),
            "{outcomes:?}"
        );
        assert_eq!((read, size(&stored)), (3, 3));
        assert_eq!(hex(&md5), "900150983cd24fb0d6963f7d28e17f72");
        for algorithm in [Algorithm::Md5, Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512] {
            assert_eq!(Algorithm::named(algorithm.name()), Some(algorithm));
        }
    }
}
