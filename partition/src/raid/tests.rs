//! Arrays in memory: every level with every leg lost, unreadable places, holes, and what cannot be assembled.
//!
//! That the bytes lie as the kernel's drivers lay them is for the golden arrays of the whole program to say.

use images::disk::{Counting, Faulty, Fill, Memory};

use super::*;

const CHUNK: u64 = 1024;
/// Chunks on each leg; of more rows than one turn of any rotation.
const ROWS: u64 = 24;

const PARITIES: [Level; 17] = {
    use Rotation::*;
    use Rotation6::*;
    [
        Level::Raid5(LeftAsymmetric),
        Level::Raid5(RightAsymmetric),
        Level::Raid5(LeftSymmetric),
        Level::Raid5(RightSymmetric),
        Level::Raid5(First),
        Level::Raid5(Last),
        Level::Raid6(Alike(LeftAsymmetric)),
        Level::Raid6(Alike(RightAsymmetric)),
        Level::Raid6(Alike(LeftSymmetric)),
        Level::Raid6(Alike(RightSymmetric)),
        Level::Raid6(Alike(First)),
        Level::Raid6(Alike(Last)),
        Level::Raid6(ZeroRestart),
        Level::Raid6(NRestart),
        Level::Raid6(NContinue),
        Level::Raid6(QLast(LeftSymmetric)),
        Level::Raid6(QLast(RightAsymmetric)),
    ]
};

/// Bytes that repeat nowhere.
fn content(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

/// The content of the legs of an array with parities, and of the array.
fn encoded(level: Level, legs: usize) -> (Vec<Vec<u8>>, Vec<u8>) {
    let row_of = |row| match level {
        Level::Raid5(rotation) => rotation.row(legs, row),
        Level::Raid6(rotation) => rotation.row(legs, row),
        _ => panic!("no parities"),
    };
    let data = legs - if matches!(level, Level::Raid6(_)) { 2 } else { 1 };
    let plain = content(data * (ROWS * CHUNK) as usize);
    let mut disks = vec![vec![0; (ROWS * CHUNK) as usize]; legs];
    for (row, chunks) in plain.chunks(data * CHUNK as usize).enumerate() {
        let roles = row_of(row as u64);
        let at = row * CHUNK as usize..(row + 1) * CHUNK as usize;
        for (index, chunk) in chunks.chunks(CHUNK as usize).enumerate() {
            disks[roles.data(index)][at.clone()].copy_from_slice(chunk);
        }
        for (leg, exponent) in roles.factors() {
            let chunk = disks[leg][at.clone()].to_vec();
            galois::add(&mut disks[roles.p][at.clone()], &chunk);
            if let Some(q) = roles.q {
                galois::add_product(&mut disks[q][at.clone()], &chunk, galois::power(exponent));
            }
        }
    }
    (disks, plain)
}

fn memory(bytes: &[u8]) -> Arc<dyn Disk> {
    Arc::new(Memory::new("leg", bytes.to_vec()))
}

fn assemble(level: Level, legs: Vec<Option<Arc<dyn Disk>>>) -> Result<Arc<dyn Disk>> {
    open("array".into(), &Layout { level, chunk: CHUNK }, legs)
}

#[track_caller]
fn assert_reads(disk: &dyn Disk, want: &[u8], what: &str) {
    assert_eq!(disk.size(), want.len() as u64, "{what}");
    let mut all = vec![0; want.len()];
    disk.read_at(&mut all, 0).unwrap();
    assert!(all == want, "{what}");
    // Odd places and lengths, across chunks and rows.
    for (at, len) in [(1, 1), (1000, 100), (1023, 2050), (5000, 9000), (want.len() - 3000, 3000)] {
        let mut part = vec![0; len];
        disk.read_at(&mut part, at as u64).unwrap();
        assert!(part == want[at..][..len], "{what}, {len} at {at}");
    }
    assert!(disk.read_at(&mut [0; 2], want.len() as u64 - 1).is_err(), "{what}");
}

#[test]
fn parities_stand_in_for_any_legs() {
    for level in PARITIES {
        let lost_at_most = if matches!(level, Level::Raid6(_)) { 2 } else { 1 };
        for count in [lost_at_most + 2, 5, 6] {
            let (disks, want) = encoded(level, count);
            for lost in 0u32..1 << count {
                let there = |leg: usize| lost >> leg & 1 == 0;
                let legs = disks.iter().enumerate().map(|(leg, bytes)| there(leg).then(|| memory(bytes))).collect();
                let array = assemble(level, legs);
                let what = format!("{level:?} of {count} without {lost:#b}");
                if lost.count_ones() as usize > lost_at_most {
                    let error = array.err().unwrap().to_string();
                    assert!(error.contains("members") && error.contains("-a"), "{what}: {error}");
                    continue;
                }
                assert_reads(&*array.unwrap(), &want, &what);
            }
        }
    }
}

#[test]
fn unreadable_places_are_made_from_the_rest() {
    let bad = |bytes: &[u8], at: u64| -> Option<Arc<dyn Disk>> {
        Some(Arc::new(Faulty::new(memory(bytes), std::iter::once(at..at + 512).collect())))
    };
    for level in PARITIES {
        let (disks, want) = encoded(level, 5);
        // In the same chunks, but nowhere more than one leg at the same place.
        let legs = disks.iter().zip([0, 512, 2048, 5120, 10240]).map(|(bytes, at)| bad(bytes, at)).collect();
        assert_reads(&*assemble(level, legs).unwrap(), &want, &format!("{level:?}"));
        let same: Vec<_> = disks.iter().map(|bytes| bad(bytes, 3072)).collect();
        let array = assemble(level, same).unwrap();
        let error = array.read_at(&mut vec![0; want.len()], 0).unwrap_err().to_string();
        assert_eq!(error, "cannot read leg at byte 0xc00: medium error", "{level:?}");
    }
    let want = content(16_384);
    let mirror = assemble(Level::Mirror, vec![bad(&want, 0), None, bad(&want, 512)]).unwrap();
    assert_reads(&*mirror, &want, "mirror");
    let mirror = assemble(Level::Mirror, vec![bad(&want, 1000), bad(&want, 512)]).unwrap();
    assert!(mirror.read_at(&mut [0; 8192], 0).is_err());
    mirror.read_at(&mut [0; 5000], 2000).unwrap();
}

/// Each byte of the legs that is read as this byte of the array.
fn raid10_legs(disks: usize, near: u32, far: u32, offset: bool, far_set: Option<u32>) -> Vec<Vec<usize>> {
    let level = Level::Raid10 { near, far, offset, far_set };
    // A leg of which every chunk is its own number tells where the array reads it.
    let mut places = Vec::new();
    for leg in 0..disks {
        let mut bytes = vec![0; (ROWS * CHUNK) as usize];
        for (row, chunk) in bytes.chunks_mut(CHUNK as usize).enumerate() {
            chunk.fill(row as u8 + 1);
        }
        let legs = (0..disks).map(|other| Some(memory(if other == leg { &bytes } else { &[0; 24576] }))).collect();
        let array = assemble(level, legs).unwrap();
        let mut read = vec![0; array.size() as usize];
        array.read_at(&mut read, 0).unwrap();
        places.push(read.iter().step_by(CHUNK as usize).map(|byte| usize::from(*byte)).collect());
    }
    places
}

#[test]
fn first_copies_lie_as_the_manual_of_md_draws_them() {
    assert_eq!(
        raid10_legs(3, 2, 1, false, None).iter().map(|leg| leg[..4].to_vec()).collect::<Vec<_>>(),
        [[1, 0, 0, 3], [0, 0, 2, 0], [0, 1, 0, 0]]
    );
    assert_eq!(raid10_legs(3, 1, 2, true, None)[1][..5], [0, 1, 0, 0, 3]);
    assert_eq!(raid10_legs(3, 1, 2, false, None)[2][..6], [0, 0, 1, 0, 0, 2]);
}

#[test]
fn copies_stand_in_for_lost_legs() {
    for (count, near, far, offset, far_set) in [
        (2, 2, 1, false, None),
        (3, 2, 1, false, None),
        (4, 2, 1, false, None),
        (5, 3, 1, false, None),
        (3, 1, 2, false, None),
        (4, 1, 2, true, None),
        (5, 1, 3, true, None),
        (4, 2, 2, false, None),
        (4, 1, 2, false, Some(2)),
        (5, 1, 2, false, Some(2)),
    ] {
        let level = Level::Raid10 { near, far, offset, far_set };
        let blank: Vec<_> = (0..count).map(|_| Some(memory(&vec![0; (ROWS * CHUNK) as usize]))).collect();
        let size = assemble(level, blank.clone()).unwrap().size();
        let want = content(size as usize);
        // Written where `places` says: that this is right is for the golden arrays to say.
        let legs = Legs::new("legs".into(), blank, &level).unwrap();
        let pattern = copies::Pattern::new(&legs, near, far, offset, far_set).unwrap();
        let map = Copies::new(legs, CHUNK, level, pattern).unwrap();
        let mut disks = vec![vec![0; (ROWS * CHUNK) as usize]; count];
        let mut written = std::collections::HashSet::new();
        for (number, chunk) in want.chunks(CHUNK as usize).enumerate() {
            let mut on = std::collections::HashSet::new();
            for (leg, at) in map.places(number as u64) {
                assert!(written.insert((leg, at)) && on.insert(leg), "{level:?}: chunk {number} on {leg} at {at}");
                disks[leg][at as usize..][..chunk.len()].copy_from_slice(chunk);
            }
            assert_eq!(on.len() as u32, near * far);
        }
        for lost in 0..1u32 << count {
            let legs = disks.iter().enumerate();
            let legs = legs.map(|(leg, bytes)| (lost >> leg & 1 == 0).then(|| memory(bytes))).collect();
            match assemble(level, legs) {
                Ok(array) => assert_reads(&*array, &want, &format!("{level:?} without {lost:#b}")),
                Err(error) => assert!(lost.count_ones() >= near * far, "{level:?} without {lost:#b}: {error}"),
            }
        }
    }
}

#[test]
fn stripes_are_read_in_turns() {
    let want = content(3 * 6 * CHUNK as usize);
    let mut disks = vec![Vec::new(); 3];
    for (index, chunk) in want.chunks(CHUNK as usize).enumerate() {
        disks[index % 3].extend_from_slice(chunk);
    }
    // What makes no whole chunk is left out.
    disks[1].push(7);
    let legs: Vec<_> = disks.iter().map(|bytes| Some(memory(bytes))).collect();
    assert_reads(&*assemble(Level::Striped, legs.clone()).unwrap(), &want, "striped");
    let error = assemble(Level::Striped, vec![legs[0].clone(), None, legs[2].clone()]).err().unwrap().to_string();
    assert!(error.starts_with("array: cannot assemble RAID 0 from 2 of 3 members: "), "{error}");
}

#[test]
fn holes_of_the_legs_are_holes() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    io::Write::write_all(&mut file, &content(8192)).unwrap();
    file.as_file().set_len(1 << 40).unwrap();
    let leg = || -> Option<Arc<dyn Disk>> { Some(Arc::new(images::disk::HostFile::open(file.path()).unwrap())) };
    let raid10 = |near, far, offset| Level::Raid10 { near, far, offset, far_set: None };
    let more = [Level::Striped, Level::Mirror, raid10(2, 1, false), raid10(1, 2, false), raid10(1, 2, true)];
    for level in PARITIES.into_iter().chain(more) {
        let array = assemble(level, vec![leg(), leg(), leg(), leg()]).unwrap();
        let fill = Fill::of(&*array, 200).unwrap();
        assert_eq!(fill.rest, 0, "{level:?}: the hole of a terabyte is told in a few answers");
        assert!(fill.data > 0 && fill.data <= 4 * 8192, "{level:?}: {}", fill.data);
        let extent = array.extent_at(0).unwrap();
        assert!(matches!(extent.data, Data::Host(..)), "{level:?}: {:?}", extent.data);
        assert!(extent.len == if level == Level::Mirror { 8192 } else { CHUNK }, "{level:?}");
        if matches!(level, Level::Striped) {
            continue;
        }
        let degraded = assemble(level, vec![None, leg(), leg(), leg()]).unwrap();
        if far_copies(level) == 1 {
            assert_eq!(Fill::of(&*degraded, 200).unwrap().rest, 0, "{level:?}, degraded");
        }
        let opaque = |at| matches!(degraded.extent_at(at * CHUNK).unwrap().data, Data::Opaque);
        assert_eq!((0..12).any(opaque), has_data_on_first_leg(level), "{level:?}");
    }
}

fn far_copies(level: Level) -> u32 {
    if let Level::Raid10 { far, .. } = level { far } else { 1 }
}

/// Whether what the first leg lacks must be made from the others.
fn has_data_on_first_leg(level: Level) -> bool {
    match level {
        Level::Raid5(rotation) | Level::Raid6(Rotation6::Alike(rotation)) => rotation != Rotation::First,
        Level::Raid6(_) => true,
        _ => false,
    }
}

#[test]
fn arrays_that_cannot_be_are_refused() {
    let leg = || Some(memory(&[0; 4096]));
    let refused = |level: Level, chunk, legs| open("bad".into(), &Layout { level, chunk }, legs).err().unwrap();
    let raid10 = |near, far, far_set| Level::Raid10 { near, far, offset: false, far_set };
    for (level, chunk, legs) in [
        (Level::Striped, 0, vec![leg()]),
        (Level::Mirror, 0, vec![None, None]),
        (Level::Mirror, 0, vec![]),
        (Level::Raid5(Rotation::Last), 512, vec![leg()]),
        (Level::Raid6(Rotation6::ZeroRestart), 512, vec![leg(), leg()]),
        (Level::Raid6(Rotation6::ZeroRestart), 512, vec![leg(); 256]),
        (Level::Raid5(Rotation::Last), 512, vec![leg(); 1921]),
        (raid10(2, 1, None), 512, vec![leg()]),
        (raid10(0, 1, None), 512, vec![leg(); 4]),
        (raid10(u32::MAX, u32::MAX, None), 512, vec![leg(); 4]),
        (raid10(2, 1, Some(9)), 512, vec![leg(); 4]),
    ] {
        let error = refused(level, chunk, legs).to_string();
        assert!(error.starts_with("bad"), "{error}");
    }
    let empty = open("e".into(), &Layout { level: Level::Mirror, chunk: 0 }, vec![Some(memory(&[]))]).unwrap();
    assert_eq!(empty.size(), 0);
    assert!(empty.extent_at(0).is_err());
    let small = open("s".into(), &Layout { level: Level::Striped, chunk: u64::MAX }, vec![leg(), leg()]).unwrap();
    assert_eq!(small.size(), 0);
}

/// Arrays that lie on each other, each `legs` times on the one below it and the first time on nothing; the lowest on a disk
/// whose reads are counted. Ends where the next one is refused.
fn tower(level: Level, legs: usize, bad: bool) -> (Vec<Arc<dyn Disk>>, Arc<Counting>, Error) {
    let lowest = vec![0; 64 << 10];
    let lowest: Arc<dyn Disk> = match bad {
        // Every second sector.
        true => Arc::new(Faulty::new(memory(&lowest), (0..64 << 10).step_by(1024).map(|at| at..at + 1).collect())),
        false => memory(&lowest),
    };
    let counting = Arc::new(Counting::new(lowest));
    let mut floors: Vec<Arc<dyn Disk>> = vec![counting.clone()];
    loop {
        let below = floors.last().unwrap();
        // All of the same size, so that the size does not grow with the height.
        let part = images::disk::View::new("leg", below.clone(), 0, 64 << 10).unwrap();
        let part: Arc<dyn Disk> = Arc::new(part);
        let there = std::iter::repeat_n(Some(part), legs);
        let all = std::iter::once(None).filter(|_| level != Level::Striped).chain(there).collect();
        match assemble(level, all) {
            Ok(array) => floors.push(array),
            Err(error) => return (floors, counting, error),
        }
        assert!(floors.len() < 2000, "{level:?}: nothing ends it");
    }
}

#[test]
fn arrays_on_arrays_are_refused_before_they_take_too_long() {
    for level in [Level::Raid5(Rotation::Last), Level::Raid6(Rotation6::ZeroRestart), Level::Mirror, Level::Striped] {
        for (legs, bad) in [(2, false), (9, false), (2, true), (9, true)] {
            let (floors, counting, error) = tower(level, legs, bad);
            let what = format!("{level:?} of {legs}, bad: {bad}");
            let error = error.to_string();
            assert!(error.starts_with("array: lies on other volumes in such a way"), "{what}: {error}");
            assert!(floors.len() >= 3, "{what}: {error}");
            for (height, floor) in floors.iter().enumerate() {
                let (reads, height) = (floor.amplification(), height as u64);
                counting.take();
                let _ = floor.read_at(&mut [0; 512], 512);
                assert!(counting.take().0 <= reads, "{what}, {height}: more than {reads}");
                let _ = floor.read_at(&mut [0; 4096], 0);
                let (_, bytes) = counting.take();
                // Where a longer read fails it is done again by sectors, once more a floor.
                assert!(bytes <= 4096 * reads * (height + 1), "{what}, {height}: {bytes}");
                let _ = floor.extent_at(0);
            }
        }
    }
}
