//! Random operations on images of every kind, against bytes in memory.

use proptest::prelude::*;

use crate::images::{Kind, SHAPES, SOURCES, check_read, open};
use crate::tools::{Folder, read};

/// What is done to an image: where (in parts of 65536 of the disk), and to how many bytes.
#[derive(Clone, Debug)]
enum Step {
    Write(u16, u32, u8),
    Zero(u16, u32),
    Discard(u16, u32),
    Flush,
    Reopen,
}

fn len() -> impl Strategy<Value = u32> {
    prop_oneof![1..40u32, (1..40u32).prop_map(|sectors| sectors * 512), 1..200_000u32, Just(1 << 20)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (any::<u16>(), len(), 1..=255u8).prop_map(|(at, len, byte)| Step::Write(at, len, byte)),
        2 => (any::<u16>(), len()).prop_map(|(at, len)| Step::Zero(at, len)),
        2 => (any::<u16>(), len()).prop_map(|(at, len)| Step::Discard(at, len)),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    let size = prop_oneof![Just((1u64 << 20) + 512 * 77), Just(3 << 20), Just(300 * 512)];
    (prop::sample::select(&SOURCES[..]), prop::sample::select(&SHAPES[..]), size)
        .prop_map(|(source, options, size)| Kind { source, options: options.to_owned(), size })
        .prop_filter("qemu-img makes none", Kind::is_possible)
}

/// Bytes and length of a step, aligned in one of three ways, inside the disk.
fn place(at: u16, len: u32, size: u64) -> (u64, usize) {
    let unit = [1, 512, 65536][usize::from(at % 3)];
    let at = size * u64::from(at) / 65536 / unit * unit;
    let len = if unit > 1 { u64::from(len).next_multiple_of(512) } else { len.into() };
    (at, len.min(size - at) as usize)
}

fn run(kind: &Kind, steps: &[Step]) {
    let folder = Folder::new();
    let mut model = kind.make(&folder);
    let mut disk = open(&folder);
    let mut writer = disk.writer(0..disk.size()).unwrap();
    for step in steps {
        match *step {
            Step::Write(at, len, byte) => {
                let (at, len) = place(at, len, kind.size);
                let data: Vec<u8> = (0..len).map(|at| byte ^ (at / 512) as u8).collect();
                writer.write_at(&data, at).unwrap();
                model[at as usize..][..len].copy_from_slice(&data);
                let around = at.saturating_sub(70_000)..(at + len as u64 + 70_000).min(kind.size);
                let want = &model[around.start as usize..around.end as usize];
                assert!(read(&*disk, around.start, want.len()) == want, "{step:?}");
            }
            Step::Zero(at, len) => {
                let (at, len) = place(at, len, kind.size);
                writer.zero_at(at, len as u64).unwrap();
                model[at as usize..][..len].fill(0);
            }
            Step::Discard(at, len) => {
                let (at, len) = place(at, len, kind.size);
                writer.discard_at(at, len as u64).unwrap();
                let now = read(&*disk, at, len);
                let old = &mut model[at as usize..][..len];
                assert!(now.iter().zip(&*old).all(|(now, old)| *now == 0 || now == old), "neither zeros nor as before");
                old.copy_from_slice(&now);
            }
            Step::Flush => writer.flush().unwrap(),
            Step::Reopen => {
                writer.flush().unwrap();
                drop((writer, disk));
                kind.check(&folder, &model);
                disk = open(&folder);
                writer = disk.writer(0..disk.size()).unwrap();
            }
        }
    }
    writer.flush().unwrap();
    check_read(&*disk, &model);
    drop((writer, disk));
    kind.check(&folder, &model);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_what_qemu_reads(kind in kind(), steps in prop::collection::vec(step(), 1..25)) {
        run(&kind, &steps);
    }
}

/// Each kind once.
#[test]
fn every_kind_of_image_is_written() {
    use Step::*;
    let steps = [Write(3, 5000, 9), Write(30_000, 1 << 20, 3), Zero(31_001, 70_000), Discard(30_000, 200_000), Reopen];
    let steps = [&steps[..], &[Write(31_000, 100, 1), Zero(0, 1 << 20), Write(65_000, 9999, 5)]].concat();
    for source in SOURCES {
        for shape in SHAPES {
            let kind = Kind { source, options: shape.to_owned(), size: (1 << 20) + 512 };
            if kind.is_possible() {
                run(&kind, &steps);
            }
        }
    }
}
