use super::*;

fn bytes(disk: &Memory) -> Vec<u8> {
    let mut bytes = vec![0; disk.size() as usize];
    disk.read_at(&mut bytes, 0).unwrap();
    bytes
}

fn written() -> PowerCut {
    let disk = PowerCut::new("m", vec![1; 2048]);
    let writer = disk.writer(0..2048).unwrap();
    writer.write_at(&[2; 1024], 0).unwrap();
    writer.flush().unwrap();
    writer.write_at(&[3; 1024], 512).unwrap();
    writer.zero_at(1536, 512).unwrap();
    writer.grow(3072).unwrap();
    writer.write_at(&[4; 512], 2560).unwrap();
    disk
}

/// Sectors by their first byte; each is of one value.
fn sectors(disk: &Memory) -> Vec<u8> {
    let bytes = bytes(disk);
    bytes
        .chunks(SECTOR)
        .inspect(|sector| assert!(sector.iter().all(|byte| *byte == sector[0])))
        .map(|it| it[0])
        .collect()
}

#[test]
fn each_step_is_a_cut() {
    let disk = written();
    assert_eq!(disk.steps(), 6);
    let cuts: Vec<_> = disk.prefixes().map(|cut| (cut.steps, sectors(&cut.disk))).collect();
    let want: [&[u8]; 7] = [
        &[1, 1, 1, 1],
        &[2, 2, 1, 1],
        &[2, 2, 1, 1],
        &[2, 3, 3, 1],
        &[2, 3, 3, 0],
        &[2, 3, 3, 0, 0, 0],
        &[2, 3, 3, 0, 0, 4],
    ];
    assert!(cuts.iter().map(|(_, sectors)| &sectors[..]).eq(want));
    assert!(cuts.iter().map(|(steps, _)| *steps).eq(0..7));
    let mut now = [0; 3072];
    disk.read_at(&mut now, 0).unwrap();
    assert_eq!(now.chunks(SECTOR).map(|sector| sector[0]).collect::<Vec<_>>(), want[6], "as a disk it loses nothing");
}

#[test]
fn what_was_flushed_is_there_and_of_the_rest_any_part() {
    let disk = written();
    let mut seen = std::collections::BTreeSet::new();
    for cut in disk.reordered(1, 4000) {
        let sectors = sectors(&cut.disk);
        if cut.steps >= 2 {
            assert_eq!(sectors[0], 2, "flushed");
            assert!([2, 3].contains(&sectors[1]) && [1, 3].contains(&sectors[2]) && [0, 1].contains(&sectors[3]));
        }
        seen.insert((cut.steps, sectors));
    }
    let seen_at = |steps: usize, sectors: &[u8]| seen.contains(&(steps, sectors.to_vec()));
    assert!(seen_at(1, &[1, 2, 1, 1]) && seen_at(1, &[2, 1, 1, 1]) && seen_at(1, &[1, 1, 1, 1]), "torn, and lost");
    assert!(seen_at(6, &[2, 2, 1, 1, 0, 4]), "a later step without the ones before it, which also grows the disk");
    assert!(seen_at(6, &[2, 2, 1, 1]) && seen_at(6, &[2, 3, 3, 0, 0, 4]) && seen_at(6, &[2, 3, 1, 0, 0, 0]));
    assert!(!seen.iter().any(|(steps, sectors)| *steps < 5 && sectors.len() > 4));
}

#[test]
fn a_seed_has_its_cuts() {
    let disk = written();
    let of = |seed| disk.reordered(seed, 50).map(|cut| (cut.steps, bytes(&cut.disk))).collect::<Vec<_>>();
    assert!(of(7) == of(7) && of(7) != of(8));
}

/// Two numbers that are to change together, by a record of both: without the flush between them some cut has a record
/// that says yes, and half a change.
#[test]
fn a_missing_flush_is_found() {
    let torn = |flushes: bool| {
        let disk = PowerCut::new("m", vec![0; 4096]);
        let writer = disk.writer(0..4096).unwrap();
        let flush = || {
            if flushes {
                writer.flush().unwrap()
            }
        };
        for value in 1..5u8 {
            // The record, the word that it is whole, both changes, and that it is done.
            writer.write_at(&[value; 512], 0).unwrap();
            flush();
            writer.write_at(&[1; 512], 512).unwrap();
            flush();
            writer.write_at(&[value; 512], 1024).unwrap();
            writer.write_at(&[value; 512], 2048).unwrap();
            flush();
            writer.write_at(&[0; 512], 512).unwrap();
            flush();
        }
        let recovered = |cut: Cut| {
            let mut sectors = sectors(&cut.disk);
            if sectors[1] == 1 {
                let writer = cut.disk.writer(0..4096).unwrap();
                writer.write_at(&[sectors[0]; 512], 1024).unwrap();
                writer.write_at(&[sectors[0]; 512], 2048).unwrap();
                sectors = self::sectors(&cut.disk);
            }
            sectors[2] == sectors[4]
        };
        assert!(!flushes || disk.prefixes().all(recovered));
        !disk.reordered(3, 500).all(recovered)
    };
    assert!(torn(false), "found");
    assert!(!torn(true));
}

#[test]
fn each_part_has_its_own_writer() {
    let disk = PowerCut::new("m", vec![0; 1024]);
    let [first, last] = [disk.writer(0..512).unwrap(), disk.writer(512..1024).unwrap()];
    assert!(disk.writer(511..512).is_err() && first.write_at(&[1], 512).is_err() && first.grow(2048).is_err());
    last.grow(2048).unwrap();
    last.write_at(&[1], 2047).unwrap();
    assert_eq!((disk.size(), disk.steps()), (2048, 2));
}
