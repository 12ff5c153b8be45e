//! Disks made of disks, written and read at random, against bytes in memory.

use std::io::Write;
use std::sync::Arc;

use super::*;
use crate::Error;

/// The disk of these bytes under a name of each kind, and a number that differs.
type Stack = (&'static str, Arc<dyn Disk>);

const SIZE: usize = 40_000;

fn memory(bytes: &[u8]) -> Arc<dyn Disk> {
    Arc::new(Memory::new("memory", bytes.to_vec()))
}

fn view(inner: &Arc<dyn Disk>, start: usize, size: usize) -> View {
    View::new("view", inner.clone(), start as u64, size as u64).unwrap()
}

/// A file with these bytes, open for both; it has no name any more.
fn host(bytes: &[u8]) -> Arc<dyn Disk> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    Arc::new(HostFile::open_for(file.path(), Access::ReadWrite).unwrap())
}

/// The disk whose pieces lie in `inner` in another order, so that it reads as `bytes`.
fn concat(bytes: &[u8], inner: impl Fn(&[u8]) -> Arc<dyn Disk>) -> Arc<dyn Disk> {
    let (first, rest) = bytes.split_at(SIZE / 3 + 77);
    let (second, third) = rest.split_at(5000);
    let below = inner(&[third, b"between", first].concat());
    let piece = |disk: &Arc<dyn Disk>, start, size| Piece::View(view(disk, start, size));
    let pieces = [
        piece(&below, third.len() + 7, first.len()),
        piece(&memory(second), 0, second.len()),
        Piece::Hole(0),
        piece(&below, 0, third.len()),
    ];
    Arc::new(Concat::new("concat", pieces).unwrap())
}

/// Every kind of disk that can be written, on others, which all read as `bytes`.
fn stacks(bytes: &[u8]) -> Vec<Stack> {
    let cached = |inner| -> Arc<dyn Disk> { Arc::new(Cached::new(inner, 512, 4096)) };
    let padded = |inner: fn(&[u8]) -> Arc<dyn Disk>| -> Arc<dyn Disk> {
        Arc::new(view(&inner(&[&[1; 999], bytes, &[2; 3333]].concat()), 999, bytes.len()))
    };
    vec![
        ("memory", memory(bytes)),
        ("host file", host(bytes)),
        ("power cut", Arc::new(PowerCut::new("power cut", bytes.to_vec()))),
        ("view of memory", padded(memory)),
        ("view of a host file", padded(host)),
        ("concat of memory", concat(bytes, memory)),
        ("cached memory", cached(memory(bytes))),
        ("cached concat of a host file", cached(concat(bytes, host))),
        ("concat of cached memory", concat(bytes, |bytes| Arc::new(Cached::new(memory(bytes), 1024, 2048)))),
        ("faulty, counting, cached view", {
            let counting = Arc::new(Counting::new(cached(padded(memory))));
            Arc::new(Faulty::new(counting, Vec::new()))
        }),
    ]
}

/// The same numbers each time.
fn numbers(mut state: u64) -> impl FnMut(usize) -> usize {
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    }
}

fn content(disk: &dyn Disk) -> Vec<u8> {
    let mut bytes = vec![0; disk.size() as usize];
    disk.read_at(&mut bytes, 0).unwrap();
    bytes
}

fn assert_extents_are_true(name: &str, disk: &dyn Disk, bytes: &[u8]) {
    let mut at = 0;
    while at < bytes.len() {
        let extent = disk.extent_at(at as u64).unwrap();
        assert!(extent.len > 0 && extent.len <= (bytes.len() - at) as u64, "{name}");
        let end = at + extent.len as usize;
        assert!(!extent.data.reads_zero() || bytes[at..end].iter().all(|byte| *byte == 0), "{name}: {at}..{end}");
        at = end;
    }
}

#[test]
fn what_is_written_is_read_through_every_kind_of_disk() {
    let mut number = numbers(1);
    let mut model: Vec<u8> = (0..SIZE).map(|at| (at * 7 / 3) as u8).collect();
    for (name, disk) in stacks(&model) {
        let writer = disk.writer(0..SIZE as u64).unwrap();
        for round in 0..600 {
            let len = [number(9), number(700), number(12_000)][number(3)];
            let at = number(SIZE - len + 1);
            let bytes = at..at + len;
            match number(8) {
                0 => {
                    writer.zero_at(at as u64, len as u64).unwrap();
                    model[bytes].fill(0);
                }
                1 => {
                    let mut now = vec![0; len];
                    writer.discard_at(at as u64, len as u64).unwrap();
                    disk.read_at(&mut now, at as u64).unwrap();
                    let old = model[bytes.clone()].iter();
                    assert!(now.iter().zip(old).all(|(now, old)| *now == 0 || now == old), "{name}, {round}");
                    model[bytes].copy_from_slice(&now);
                }
                2 => writer.flush().unwrap(),
                3..6 => {
                    let data: Vec<u8> = (0..len).map(|at| (at * 31 + round) as u8 | 1).collect();
                    writer.write_at(&data, at as u64).unwrap();
                    model[bytes].copy_from_slice(&data);
                }
                _ => {
                    let mut now = vec![0; len];
                    disk.read_at(&mut now, at as u64).unwrap();
                    assert!(now == model[bytes], "{name}, {round}");
                }
            }
        }
        assert!(content(&*disk) == model, "{name}");
        assert_extents_are_true(name, &*disk, &model);
        writer.flush().unwrap();
        drop(writer);
        disk.writer(0..SIZE as u64).unwrap();
        // The next one begins with what this one left.
        model = (0..SIZE).map(|at| (at * 7 / 3) as u8).collect();
    }
}

#[test]
fn nothing_is_written_outside_of_what_was_asked_for() {
    for (name, disk) in stacks(&[5; SIZE]) {
        let size = SIZE as u64;
        let writer = disk.writer(1000..20_000).unwrap();
        for (offset, len) in [(999, 2), (19_999, 2), (20_000, 1), (0, 1), (size, 1), (u64::MAX, 2)] {
            let data = vec![1; len as usize];
            assert!(writer.write_at(&data, offset).is_err(), "{name}: {len} at {offset}");
            assert!(writer.zero_at(offset, len).is_err() && writer.discard_at(offset, len).is_err(), "{name}");
        }
        assert!(writer.zero_at(5, u64::MAX).is_err() && writer.grow(size + 1).is_err(), "{name}");
        assert!(disk.writer(0..1001).is_err() && disk.writer(0..size).is_err(), "{name}: a second writer");
        let [before, behind] = [disk.writer(0..1000).unwrap(), disk.writer(20_000..size).unwrap()];
        before.write_at(&[1], 999).unwrap();
        behind.write_at(&[1], 20_000).unwrap();
        #[expect(clippy::reversed_empty_ranges, reason = "as a caller may get it wrong")]
        let outside = [size..size + 1, 0..size + 1, 5..4, u64::MAX..u64::MAX, u64::MAX - 1..0];
        assert!(outside.into_iter().all(|bytes| disk.writer(bytes).is_err()), "{name}");
        assert_eq!(content(&*disk).iter().filter(|byte| **byte == 1).count(), 2, "{name}");
        drop(writer);
        disk.writer(1000..20_000).unwrap();
    }
}

#[test]
fn several_threads_write_with_one_writer() {
    for (name, disk) in stacks(&[0; SIZE]) {
        let writer = disk.writer(0..SIZE as u64).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4u8 {
                let (disk, writer) = (&disk, &writer);
                scope.spawn(move || {
                    let mut number = numbers(thread.into());
                    for round in 0..150u8 {
                        // Neighbours share a page, and a sector.
                        let at = (number(SIZE / 400) * 400 + usize::from(thread) * 100) as u64;
                        let data = [thread << 6 | round & 63; 100];
                        writer.write_at(&data, at).unwrap();
                        let mut now = [0; 100];
                        disk.read_at(&mut now, at).unwrap();
                        assert_eq!(now, data, "{name}: own bytes are read as they were written");
                        if round % 50 == 0 {
                            writer.flush().unwrap();
                        }
                    }
                });
            }
        });
    }
}

#[test]
fn what_cannot_be_written_says_why() {
    let bytes = [0; 4096];
    let with_hole = Concat::new("volume", [Piece::View(view(&memory(&bytes), 0, 1024)), Piece::Hole(1024)]).unwrap();
    let missing = Concat::new("volume", [Piece::Missing(1024, "its disk is not here".into())]).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(1024).unwrap();
    let read = HostFile::open(file.path()).unwrap();
    let overlay = Overlay::new(memory(&bytes), 512, Default::default());
    let bad = Faulty::new(memory(&bytes), vec![100..200, 3000..3100]);
    for (disk, want) in [
        (&with_hole as &dyn Disk, "volume cannot be written: byte 0x400 lies on no disk"),
        (&missing, "volume cannot be written at byte 0x0: its disk is not here"),
        (&read, "is open for reading only"),
        (&overlay, "memory has a journal that was replayed in memory only"),
        (&view(&(Arc::new(overlay_of(&bytes)) as Arc<dyn Disk>), 0, 512), "memory has a journal"),
    ] {
        let error = disk.writer(0..disk.size()).err().unwrap();
        assert!(matches!(&error, Error::ReadOnly(why) if why.contains(want)), "{error}");
    }
    with_hole.writer(0..1024).unwrap().write_at(&[1; 1024], 0).unwrap();
    let error = bad.writer(0..4096).unwrap().write_at(&[1; 51], 50).unwrap_err();
    assert_eq!(error.to_string(), "cannot write memory at byte 0x32: medium error");
    let parts = [Piece::View(view(&memory(&bytes), 0, 1024))];
    let error = Concat::new("volume", parts).unwrap().writer(0..1024).unwrap().grow(1025).unwrap_err();
    assert_eq!(error.to_string(), "volume cannot grow: it is made of parts");
}

fn overlay_of(bytes: &[u8]) -> Overlay {
    Overlay::new(memory(bytes), 512, Default::default())
}

/// How an image may be used is chosen where it is opened; the files that it names are for reading.
#[test]
fn an_image_is_written_if_it_was_opened_for_that() {
    let folder = tempfile::tempdir().unwrap();
    let [raw, qcow2] = ["raw", "qcow2"].map(|name| folder.path().join(name));
    std::fs::write(&raw, [1; 65536]).unwrap();
    let mut create = toolbox::command("qemu-img");
    create.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b", "raw"]).arg(&qcow2);
    assert!(create.status().unwrap().success());
    let open = |path, access| crate::open(path, &crate::Options { access, ..Default::default() }).unwrap();
    let refused = |disk: &dyn Disk| disk.writer(0..512).err().unwrap().to_string();
    let written = open(&raw, Access::ReadWrite);
    written.writer(0..65536).unwrap().write_at(&[2; 100], 0).unwrap();
    assert_eq!(content(&*open(&qcow2, Access::Read))[..101], [[2; 100].as_slice(), &[1]].concat());
    assert!(refused(&*open(&raw, Access::Read)).ends_with("raw is open for reading only"));
    assert!(refused(&*open(&qcow2, Access::Read)).ends_with("qcow2 is open for reading only"));
    // QEMU does not read what is locked for writing.
    drop(written);
    let written = open(&qcow2, Access::ReadWrite);
    written.writer(0..65536).unwrap().write_at(&[3; 100], 0).unwrap();
    assert_eq!(content(&*written)[..101], [[3; 100].as_slice(), &[1]].concat());
    assert_eq!(std::fs::read(&raw).unwrap()[..101], [[2; 100].as_slice(), &[1]].concat(), "what it names is not");
    let mut convert = toolbox::command("qemu-img");
    let vmdk = folder.path().join("vmdk");
    assert!(convert.args(["convert", "-O", "vmdk"]).args([&raw, &vmdk]).status().unwrap().success());
    let refused = refused(&*open(&vmdk, Access::ReadWrite));
    assert!(refused.ends_with("vmdk: vmdk images are not written; --overlay leaves it as it is"), "{refused}");
}

#[test]
fn a_volume_with_bytes_twice_has_no_writer() {
    let disk = memory(&[0; 4096]);
    let twice = Concat::new("volume", [0, 1024, 512].map(|at| Piece::View(view(&disk, at, 1024)))).unwrap();
    assert_eq!(twice.writer(0..3072).err().unwrap().to_string(), "memory has a writer already, at byte 0x400");
    disk.writer(0..4096).expect("what was claimed on the way is given back");
}

#[test]
fn what_grows_is_zeros_and_is_written_and_read() {
    for disk in [
        memory(&[1; 1000]),
        host(&[1; 1000]),
        Arc::new(PowerCut::new("power cut", vec![1; 1000])),
        Arc::new(Cached::new(memory(&[1; 1000]), 512, 4096)),
        Arc::new(Cached::new(host(&[1; 1000]), 512, 4096)),
    ] {
        assert_eq!(content(&*disk), [1; 1000], "pages are kept");
        let writer = disk.writer(10..1000).unwrap();
        writer.grow(500).unwrap();
        writer.grow(5000).unwrap();
        assert_eq!(disk.size(), 5000);
        assert_eq!(content(&*disk), [vec![1; 1000], vec![0; 4000]].concat());
        assert!(disk.writer(3000..4000).is_err(), "it belongs to the writer");
        writer.write_at(&[2; 4000], 1000).unwrap();
        writer.flush().unwrap();
        assert_eq!(content(&*disk), [vec![1; 1000], vec![2; 4000]].concat());
    }
}

#[test]
fn writes_and_flushes_are_counted() {
    let counting = Counting::new(memory(&[0; 4096]));
    let writer = counting.writer(0..4096).unwrap();
    writer.write_at(&[1; 100], 0).unwrap();
    writer.zero_at(50, 1000).unwrap();
    writer.flush().unwrap();
    assert_eq!(counting.take_written(), Written { writes: 2, bytes: 1100, flushes: 1 });
    assert_eq!(counting.take_written(), Written::default());
}

#[test]
fn properties_are_those_of_what_lies_below() {
    let below: Arc<dyn Disk> = Arc::new(View::with_sector_size(memory(&[0; 4096]), 4096));
    let wrappers: [Arc<dyn Disk>; 5] = [
        Arc::new(Cached::new(below.clone(), 512, 512)),
        Arc::new(view(&below, 512, 512)),
        Arc::new(Counting::new(below.clone())),
        Arc::new(Faulty::new(below.clone(), Vec::new())),
        Arc::new(Overlay::new(below.clone(), 512, Default::default())),
    ];
    assert!(wrappers.iter().all(|disk| disk.properties() == below.properties() && disk.sector_size() == Some(4096)));
    assert_eq!(View::with_sector_size(below, 512).sector_size(), Some(512));
}
