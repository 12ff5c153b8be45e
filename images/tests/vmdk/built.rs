//! What QEMU reads but does not write, built here from the specification; QEMU is asked what it reads.

use std::fs;
use std::io::Write;

use images::Data;

use crate::bytes::*;
use crate::tools::content::check;
use crate::tools::*;

const SECTOR: usize = 512;

/// What a test image has in each of its grains.
#[derive(Clone, Copy, PartialEq)]
enum Grain {
    None,
    Zero,
    Bytes(u64),
}

/// Grains in a random order of kinds, the last one allocated.
fn grains(count: usize, zeroed: bool, seed: u64) -> Vec<Grain> {
    let mut random = Random(seed);
    let kind = |n| match random.below(5) {
        0 | 1 => Grain::None,
        2 if zeroed => Grain::Zero,
        _ => Grain::Bytes(n as u64 + 1),
    };
    let mut grains: Vec<_> = (0..count).map(kind).collect();
    *grains.last_mut().unwrap() = Grain::Bytes(99);
    grains
}

/// The bytes of a disk of these grains, cut to `size`.
fn content(grains: &[Grain], grain: usize, size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for kind in grains {
        match kind {
            Grain::Bytes(seed) => bytes.extend(patterned(*seed, grain)),
            _ => bytes.resize(bytes.len() + grain, 0),
        }
    }
    bytes.truncate(size);
    bytes
}

/// A COWD extent: header, grain directory at sector 4, one grain table of 4096 entries behind the other, grains.
fn cowd(grains: &[Grain], grain_sectors: usize, sectors: usize, flags: u32) -> Vec<u8> {
    let tables = grains.len().div_ceil(4096);
    let mut file = vec![0; 2048];
    file[..4].copy_from_slice(b"COWD");
    let fields = [1, flags, sectors as u32, grain_sectors as u32, 4, tables as u32, 0, 16, 4, 63];
    for (index, value) in fields.into_iter().enumerate() {
        put(&mut file, 4 + 4 * index, &value.to_le_bytes());
    }
    let first_table = 4 + (tables * 4).div_ceil(SECTOR);
    let mut next = first_table + tables * 32;
    for table in 0..tables {
        put(&mut file, 2048 + 4 * table, &((first_table + 32 * table) as u32).to_le_bytes());
    }
    for (index, kind) in grains.iter().enumerate() {
        if let Grain::Bytes(seed) = kind {
            put(&mut file, first_table * SECTOR + 4 * index, &(next as u32).to_le_bytes());
            put(&mut file, next * SECTOR, &patterned(*seed, grain_sectors * SECTOR));
            next += grain_sectors;
        }
    }
    file
}

/// A seSparse extent; the grains lie in an order of their own, from an index that needs all three parts of an entry.
fn se_sparse(grains: &[Grain], sectors: usize) -> Vec<u8> {
    const GRAIN: usize = 4096;
    let tables = grains.len().div_ceil(4096);
    // Sectors: volatile header 1, directory 8, tables 64, grains behind them.
    let grains_at = 64 + tables * 64;
    let mut file = vec![0; 1024];
    let fields = [
        0xcafe_babe,
        0x2_0000_0001,
        sectors,
        8,
        64,
        0,
        0,
        0,
        0,
        0,
        1,
        1,
        2,
        1,
        3,
        1,
        8,
        8,
        64,
        tables * 64,
        4,
        1,
        5,
        1,
        grains_at,
        0,
    ];
    for (index, value) in fields.into_iter().enumerate() {
        put(&mut file, 8 * index, &value.to_le_bytes());
    }
    put(&mut file, SECTOR, &0xcafe_cafeu64.to_le_bytes());
    for table in 0..tables {
        // The tables lie in reverse.
        let entry = 0x1000_0000_0000_0000 | (tables - 1 - table) as u64;
        put(&mut file, 8 * SECTOR + 8 * table, &entry.to_le_bytes());
    }
    let mut next = grains.len() as u64;
    for (index, kind) in grains.iter().enumerate() {
        let entry = match kind {
            Grain::None => continue,
            Grain::Zero => [1u64 << 60, 2 << 60][index % 2],
            Grain::Bytes(seed) => {
                next -= 1;
                put(&mut file, grains_at * SECTOR + next as usize * GRAIN, &patterned(*seed, GRAIN));
                3 << 60 | (next & 0xfff) << 48 | next >> 12
            }
        };
        let table = tables - 1 - index / 4096;
        put(&mut file, (64 + 64 * table) * SECTOR + index % 4096 * 8, &entry.to_le_bytes());
    }
    file
}

fn check_both(folder: &Folder, image: &str, want: &[u8]) {
    check(&folder.open(image), want);
    assert!(folder.reference(image) == want, "{image}: QEMU");
    map::check(folder, "", image);
}

#[test]
fn cowd_extents() {
    // Three tables of one-sector grains, and larger ones; the disk ends inside a grain.
    for (count, grain_sectors, cut) in [(9_000, 1, 0), (300, 8, 3), (90, 128, 100)] {
        let folder = Folder::new();
        let sectors = count * grain_sectors - cut;
        // Many grains of a sector are generated alike.
        let mut grains = grains(count, false, 4);
        if count > 1000 {
            grains.iter_mut().enumerate().for_each(|(n, grain)| *grain = [*grain, Grain::None][n / 64 % 2]);
        }
        folder.write("disk-delta.vmdk", &cowd(&grains, grain_sectors, sectors, 3));
        let line = format!("RW {sectors} VMFSSPARSE \"disk-delta.vmdk\"");
        folder.write("disk.vmdk", descriptor("vmfsSparse", &line).as_bytes());
        let want = content(&grains, grain_sectors * SECTOR, sectors * SECTOR);
        let ours = folder.open("disk.vmdk");
        check(&ours, &want);
        assert!(folder.reference("disk.vmdk") == want, "QEMU");
        // QEMU opens none without a descriptor; a root is a disk all the same.
        check(&folder.open("disk-delta.vmdk"), &want);
    }
}

#[test]
fn a_cowd_child_needs_its_descriptor() {
    let folder = Folder::new();
    folder.write("child.vmdk", &cowd(&grains(10, false, 4), 8, 80, 2));
    let why = folder.refusal("child.vmdk");
    assert!(
        why.ends_with("a child of a disk and not all of it: open the descriptor, a .vmdk file that names it"),
        "{why}"
    );
}

#[test]
fn a_cowd_delta_on_a_flat_parent() {
    let folder = Folder::new();
    let base = patterned(12, 80 * SECTOR * 10);
    folder.write("base-flat.vmdk", &base);
    folder.write("base.vmdk", descriptor("vmfs", "RW 800 VMFS \"base-flat.vmdk\"").as_bytes());
    let grains = grains(800, false, 6);
    folder.write("disk-delta.vmdk", &cowd(&grains, 1, 800, 3));
    let text = descriptor("vmfsSparse", "RW 800 VMFSSPARSE \"disk-delta.vmdk\"")
        .replace("parentCID=ffffffff", "parentCID=12345678\nparentFileNameHint=\"base.vmdk\"");
    folder.write("disk.vmdk", text.as_bytes());
    let mut want = base;
    let own = content(&grains, SECTOR, 800 * SECTOR);
    for (index, _) in grains.iter().enumerate().filter(|(_, grain)| **grain != Grain::None) {
        want[index * SECTOR..][..SECTOR].copy_from_slice(&own[index * SECTOR..][..SECTOR]);
    }
    check(&folder.open("disk.vmdk"), &want);
    assert!(folder.reference("disk.vmdk") == want, "QEMU");
}

#[test]
fn space_efficient_extents() {
    for (count, seed) in [(600, 3), (9000, 8)] {
        let folder = Folder::new();
        let mut grains = grains(count, true, seed);
        if count > 1000 {
            grains
                .iter_mut()
                .enumerate()
                .for_each(|(n, grain)| *grain = [*grain, Grain::None][usize::from(n % 16 > 1)]);
        }
        let sectors = count * 8;
        folder.write("disk-sesparse.vmdk", &se_sparse(&grains, sectors));
        let line = format!("RW {sectors} SESPARSE \"disk-sesparse.vmdk\"");
        folder.write("disk.vmdk", descriptor("seSparse", &line).as_bytes());
        let want = content(&grains, 4096, sectors * SECTOR);
        check(&folder.open("disk.vmdk"), &want);
        assert!(folder.reference("disk.vmdk") == want, "QEMU");
        let why = folder.refusal("disk-sesparse.vmdk");
        assert!(why.contains("an extent of a disk"), "{why}");
        if count < 1000 {
            let zero = grains.iter().position(|grain| *grain == Grain::Zero).unwrap();
            let disk = folder.open("disk.vmdk");
            assert!(matches!(disk.extent_at(zero as u64 * 4096).unwrap().data, Data::Zero));
        }
    }
}

#[test]
fn se_sparse_that_is_not_understood_is_refused() {
    let folder = Folder::new();
    let image = se_sparse(&grains(50, true, 3), 400);
    folder.write("disk.vmdk", descriptor("seSparse", "RW 400 SESPARSE \"extent\"").as_bytes());
    for (at, value, want) in [
        (8, 0x2_0000_0002u64, "version"),
        (24, 16, "grain size"),
        (32, 32, "grain table size"),
        (40, 1, "flags"),
        (48, 1, "reserved"),
        (300, 1, "reserved"),
        (512, 7, "magic 0x7"),
        (512 + 24, 1, "a journal to replay"),
        (16, 1 << 60, "more than 2^63 bytes"),
        (16, 408, "the header of"),
        (136, 0, "0 entries"),
        (128, 1 << 40, "past the end of the file"),
    ] {
        let mut bytes = image.clone();
        put(&mut bytes, at, &value.to_le_bytes());
        folder.write("extent", &bytes);
        let why = folder.refusal("disk.vmdk");
        assert!(why.contains(want), "{at}: {why}");
    }
}

/// A stream as VMware writes it: the header does not know where the grain directory will be.
fn stream(grains: &[Grain], grain_sectors: usize, sectors: usize, flags: u32) -> Vec<u8> {
    let mut header = vec![0; SECTOR];
    header[..4].copy_from_slice(b"KDMV");
    put(&mut header, 4, &3u32.to_le_bytes());
    put(&mut header, 8, &flags.to_le_bytes());
    for (at, value) in [(12, sectors), (20, grain_sectors), (28, 1), (36, 20), (64, 21)] {
        put(&mut header, at, &value.to_le_bytes());
    }
    put(&mut header, 44, &512u32.to_le_bytes());
    put(&mut header, 56, &u64::MAX.to_le_bytes());
    header[73..77].copy_from_slice(b"\n \r\n");
    header[77] = 1;

    let mut file = header.clone();
    let line = format!("RW {sectors} SPARSE \"disk.vmdk\"");
    put(&mut file, SECTOR, descriptor("streamOptimized", &line).as_bytes());
    file.resize(21 * SECTOR, 0);
    let marker = |file: &mut Vec<u8>, len: usize, kind: u32| {
        let mut sector = vec![0; SECTOR];
        put(&mut sector, 0, &(len as u64).to_le_bytes());
        put(&mut sector, 12, &kind.to_le_bytes());
        file.extend(sector);
    };
    let marked = flags & 1 << 17 != 0;
    let mut directory = Vec::new();
    for (number, part) in grains.chunks(512).enumerate() {
        let mut table = vec![0; 2048];
        for (index, kind) in part.iter().enumerate() {
            let seed = match kind {
                Grain::None => continue,
                Grain::Zero => {
                    put(&mut table, 4 * index, &1u32.to_le_bytes());
                    continue;
                }
                Grain::Bytes(seed) => seed,
            };
            put(&mut table, 4 * index, &((file.len() / SECTOR) as u32).to_le_bytes());
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(&patterned(*seed, grain_sectors * SECTOR)).unwrap();
            let packed = encoder.finish().unwrap();
            if marked {
                file.extend((((number * 512 + index) * grain_sectors) as u64).to_le_bytes());
                file.extend((packed.len() as u32).to_le_bytes());
            }
            file.extend(packed);
            file.resize(file.len().next_multiple_of(SECTOR), 0);
        }
        if part.iter().all(|grain| *grain == Grain::None) {
            directory.extend(0u32.to_le_bytes());
            continue;
        }
        marker(&mut file, 4, 1);
        directory.extend(((file.len() / SECTOR) as u32).to_le_bytes());
        file.extend(table);
    }
    directory.resize(directory.len().next_multiple_of(SECTOR), 0);
    marker(&mut file, directory.len() / SECTOR, 2);
    put(&mut header, 56, &((file.len() / SECTOR) as u64).to_le_bytes());
    file.extend(directory);
    marker(&mut file, 1, 3);
    file.extend(header);
    marker(&mut file, 0, 0);
    file
}

const STREAM: u32 = 0x3_0001;

#[test]
fn streams_with_a_footer() {
    for (count, grain_sectors, cut) in [(700, 16, 5), (40, 128, 0), (3, 128, 127), (1200, 8, 0)] {
        let folder = Folder::new();
        let mut grains = grains(count, false, 11);
        if count > 1000 {
            grains[512..1024].fill(Grain::None);
        }
        let sectors = count * grain_sectors - cut;
        folder.write("disk.vmdk", &stream(&grains, grain_sectors, sectors, STREAM));
        check_both(&folder, "disk.vmdk", &content(&grains, grain_sectors * SECTOR, sectors * SECTOR));
    }
}

#[test]
fn streams_with_zeroed_grains_and_without_markers() {
    let folder = Folder::new();
    let grains = grains(80, true, 13);
    let want = content(&grains, 128 * SECTOR, 80 * 128 * SECTOR);
    folder.write("disk.vmdk", &stream(&grains, 128, 80 * 128, STREAM | 4));
    check_both(&folder, "disk.vmdk", &want);
    // QEMU cannot: it takes what follows a grain without marker for a part of it.
    folder.write("disk.vmdk", &stream(&grains, 128, 80 * 128, 0x1_0005));
    check(&folder.open("disk.vmdk"), &want);
}

#[test]
fn damaged_streams_are_errors() {
    let folder = Folder::new();
    let grains = vec![Grain::Bytes(5); 8];
    let image = stream(&grains, 128, 8 * 128, STREAM);
    let refused = |bytes: &[u8]| {
        folder.write("disk.vmdk", bytes);
        folder.refusal("disk.vmdk")
    };
    let why = refused(&image[..image.len() - SECTOR]);
    assert!(why.contains("stream footer at byte") && why.ends_with("truncated?"), "{why}");
    let mut bytes = image.clone();
    let footer = image.len() - 2 * SECTOR;
    put(&mut bytes, footer + 56, &u64::MAX.to_le_bytes());
    assert!(refused(&bytes).contains("no place of the grain directory either"));
    let mut bytes = image.clone();
    put(&mut bytes, footer, b"X");
    assert!(refused(&bytes).contains("magic XDMV, want KDMV"));

    for (at, value, want) in [
        (0, 128u32, "it is of sector 0x80, want 0x0"),
        (8, 0, "0 compressed bytes"),
        (8, 131_073, "131073 compressed bytes, 131072 is the most"),
        (8, 20, "the compressed bytes end too early"),
        (12, 0xffff_ffff, "deflate: "),
    ] {
        let mut bytes = image.clone();
        put(&mut bytes, 21 * SECTOR + at, &value.to_le_bytes());
        folder.write("disk.vmdk", &bytes);
        let disk = folder.open("disk.vmdk");
        for len in [10, 65536] {
            let why = disk.read_at(&mut vec![0; len], 0).unwrap_err().to_string();
            assert!(why.contains(want), "{at}: {why}");
        }
        let intact = patterned(5, 65536);
        assert!(read(&*disk, 65536, 65536) == intact, "the next grain is whole");
    }
    // Two entries that name one grain.
    let mut bytes = image.clone();
    let directory = le64_at(&bytes, footer + 56) as usize * SECTOR;
    let table = le32_at(&bytes, directory) as usize * SECTOR;
    let second = le32_at(&bytes, table + 4);
    put(&mut bytes, table, &second.to_le_bytes());
    folder.write("disk.vmdk", &bytes);
    let disk = folder.open("disk.vmdk");
    read(&*disk, 65536, 100);
    let why = disk.read_at(&mut [0; 100], 0).unwrap_err().to_string();
    assert!(why.contains("it is of sector 0x80, want 0x0"), "{why}");
}

#[test]
fn the_redundant_grain_directory_is_used_where_the_first_is_damaged() {
    let folder = Folder::new();
    let want = patterned(17, 40 << 20);
    folder.write("source", &want);
    folder.run("qemu-img convert -f raw -O vmdk source image.vmdk");
    let image = folder.read("image.vmdk");
    let directory = le64_at(&image, 56) as usize * SECTOR;
    // One entry of it, all of it, and its place.
    for (at, value) in [(directory, &b"\xff\xff\xff\x7f"[..]), (directory, &[0xff; 8]), (56, &[0xff, 0xff, 0xff, 0, 0])]
    {
        let mut bytes = image.clone();
        put(&mut bytes, at, value);
        folder.write("image.vmdk", &bytes);
        check(&folder.open("image.vmdk"), &want);
    }
    // Without the flag there is no second one.
    let mut bytes = image.clone();
    bytes[8] &= !2;
    put(&mut bytes, directory, b"\xff\xff\xff\x7f");
    folder.write("image.vmdk", &bytes);
    assert!(folder.open("image.vmdk").read_at(&mut [0; 512], 0).is_err());
}

#[test]
fn an_unclean_shutdown_is_read() {
    let folder = Folder::new();
    let want = patterned(19, 1 << 20);
    folder.write("source", &want);
    folder.run("qemu-img convert -f raw -O vmdk source image.vmdk");
    let mut bytes = folder.read("image.vmdk");
    bytes[72] = 1;
    folder.write("image.vmdk", &bytes);
    check(&folder.open("image.vmdk"), &want);
}

#[test]
fn versions_grain_sizes_and_table_sizes() {
    let folder = Folder::new();
    let grains = grains(300, true, 23);
    for (version, grain_sectors, entries) in [(1u32, 8usize, 512u32), (2, 16, 512), (3, 1, 128), (3, 256, 64)] {
        // A stream without compression is what a sparse extent is: rebuilt here with its own tables.
        let sectors = 300 * grain_sectors;
        let mut file = vec![0; SECTOR];
        file[..4].copy_from_slice(b"KDMV");
        put(&mut file, 4, &version.to_le_bytes());
        put(&mut file, 8, &5u32.to_le_bytes());
        let tables = 300usize.div_ceil(entries as usize);
        let table_sectors = entries as usize * 4 / SECTOR.min(entries as usize * 4);
        let (directory, first_table) = (21, 22);
        let mut next = first_table + tables * table_sectors.max(1);
        for (at, value) in [(12, sectors), (20, grain_sectors), (28, 1), (36, 20), (56, directory), (64, next)] {
            put(&mut file, at, &value.to_le_bytes());
        }
        put(&mut file, 44, &entries.to_le_bytes());
        file[73..77].copy_from_slice(b"\n \r\n");
        let line = format!("RW {sectors} SPARSE \"disk.vmdk\"");
        put(&mut file, SECTOR, descriptor("monolithicSparse", &line).as_bytes());
        file.resize(next * SECTOR, 0);
        for (index, kind) in grains.iter().enumerate() {
            let (table, inside) = (index / entries as usize, index % entries as usize);
            let table = first_table + table * table_sectors.max(1);
            put(&mut file, directory * SECTOR + index / entries as usize * 4, &(table as u32).to_le_bytes());
            let entry = match kind {
                Grain::None => 0,
                Grain::Zero => 1,
                Grain::Bytes(seed) => {
                    put(&mut file, next * SECTOR, &patterned(*seed, grain_sectors * SECTOR));
                    next += grain_sectors;
                    next - grain_sectors
                }
            };
            put(&mut file, table * SECTOR + 4 * inside, &(entry as u32).to_le_bytes());
        }
        folder.write("disk.vmdk", &file);
        let want = content(&grains, grain_sectors * SECTOR, sectors * SECTOR);
        check(&folder.open("disk.vmdk"), &want);
        assert!(folder.reference("disk.vmdk") == want, "QEMU");
    }
}

#[test]
fn a_descriptor_in_the_first_of_several_extents() {
    let folder = Folder::new();
    let grains = grains(40, false, 29);
    let part = content(&grains, 16 * SECTOR, 640 * SECTOR);
    let mut first = stream(&grains, 16, 640, STREAM);
    folder.write("second", &patterned(2, 10 * SECTOR));
    let text = descriptor("custom", "RW 640 SPARSE \"disk.vmdk\"\nRW 10 FLAT \"second\" 0\nNOACCESS 4 ZERO");
    put(&mut first, SECTOR, text.as_bytes());
    folder.write("disk.vmdk", &first);
    let disk = folder.open("disk.vmdk");
    assert_eq!(disk.size(), 654 * SECTOR as u64);
    assert!(read(&*disk, 0, 650 * SECTOR) == [part, patterned(2, 10 * SECTOR)].concat());
    let why = disk.read_at(&mut [0; 5], 650 * SECTOR as u64).unwrap_err().to_string();
    assert!(why.ends_with("the descriptor says that it may not be accessed"), "{why}");
}

#[test]
fn a_name_with_a_colon_is_a_file() {
    let folder = Folder::new();
    folder.write("web:disk-flat.vmdk", &patterned(2, 10 * SECTOR));
    folder.write("d.vmdk", descriptor("vmfs", "RW 10 VMFS \"web:disk-flat.vmdk\"").as_bytes());
    check(&folder.open("d.vmdk"), &patterned(2, 10 * SECTOR));
    folder.write("d.vmdk", descriptor("vmfs", "RW 10 VMFS \"vsan://52-ab/c\"").as_bytes());
    assert!(folder.refusal("d.vmdk").contains("has the protocol vsan"));
    fs::create_dir(folder.path("sub")).unwrap();
    folder.write("sub/d.vmdk", descriptor("vmfs", "RW 10 VMFS \"../web:disk-flat.vmdk\"").as_bytes());
    check(&folder.open("sub/d.vmdk"), &patterned(2, 10 * SECTOR));
}
