//! Backing chains, zero and discarded clusters, dirty images, and what is refused by name.

use std::sync::Arc;

use images::Error;
use images::disk::Memory;

use crate::open;
use crate::tools::content::check;
use crate::tools::*;

/// Random writes, zeros and discards of an image of `size` bytes.
fn scribble(folder: &Folder, image: &str, seed: u64, size: u64, count: u64) {
    let mut random = Random(seed);
    let commands: Vec<String> = (0..count)
        .map(|_| {
            let start = random.below(size / 512) * 512;
            let len = (512 * (1 + random.below(400))).min(size - start);
            match random.below(6) {
                0 => format!("write -z {start} {len}"),
                1 => format!("write -z -u {start} {len}"),
                2 => format!("discard {start} {len}"),
                _ => format!("write -P {} {start} {len}", random.below(256)),
            }
        })
        .collect();
    folder.io(image, &commands);
}

#[test]
fn written_zeroed_and_discarded() {
    let mut seed = 1;
    for options in ["compat=v3", "compat=0.10", "cluster_size=512", "extended_l2=on", "extended_l2=on,cluster_size=16k"]
    {
        for base in [false, true] {
            let folder = Folder::new();
            seed += 1;
            if base {
                folder.write("base", &patterned(seed, (3 << 20) + 512));
                folder.run(&format!("qemu-img create -f qcow2 -o {options} -b base -F raw image 5M"));
            } else {
                folder.run(&format!("qemu-img create -f qcow2 -o {options} image 5M"));
            }
            scribble(&folder, "image", seed, 5 << 20, 60);
            check(&folder.open("image"), &folder.reference("image"));
            map::check(&folder, "", "image");
        }
    }
}

#[test]
fn data_file_written_zeroed_and_discarded() {
    for (seed, options) in [(1, "data_file_raw=on"), (2, "extended_l2=on"), (3, "cluster_size=4k")] {
        let folder = Folder::new();
        folder.run(&format!("qemu-img create -f qcow2 -o data_file=image.data,{options} image {}", (5 << 20) + 512));
        scribble(&folder, "image", seed, 5 << 20, 60);
        check(&folder.open("image"), &folder.reference("image"));
        map::check(&folder, "", "image");
    }
}

#[test]
fn chains_of_three_with_shorter_bases() {
    let kinds = [
        ["cluster_size=2M", "cluster_size=512", "cluster_size=64k"],
        ["extended_l2=on", "compat=0.10,cluster_size=4k", "extended_l2=on,cluster_size=128k"],
        ["cluster_size=512", "cluster_size=64k", "cluster_size=2M"],
    ];
    for (seed, [base, middle, top]) in (40..).step_by(10).zip(kinds) {
        let folder = Folder::new();
        folder.write("source", &patterned(seed, (2 << 20) + 512 * 3));
        folder.run(&format!("qemu-img convert -c -f raw -O qcow2 -o {base} source base"));
        folder.run(&format!("qemu-img create -f qcow2 -o {middle} -b base -F qcow2 middle {}", (4 << 20) + 512 * 5));
        scribble(&folder, "middle", seed, 4 << 20, 30);
        folder.run(&format!("qemu-img create -f qcow2 -o {top} -b middle -F qcow2 top {}", (7 << 20) + 512 * 7));
        scribble(&folder, "top", seed + 1, 7 << 20, 20);
        check(&folder.open("top"), &folder.reference("top"));
        map::check(&folder, "", "top");
        // And one that is smaller than what lies below it.
        folder.run(&format!("qemu-img create -f qcow2 -o {base} -b top -F qcow2 less {}", (1 << 20) + 512));
        check(&folder.open("less"), &folder.reference("less"));
        map::check(&folder, "", "less");
    }
}

#[test]
fn compressed_and_plain_clusters_in_one_image() {
    for options in ["compat=v3", "compression_type=zstd", "extended_l2=on"] {
        let folder = Folder::new();
        folder.write("source", &patterned(3, 5 << 20));
        folder.run(&format!("qemu-img convert -c -f raw -O qcow2 -o {options} source image"));
        scribble(&folder, "image", 4, 5 << 20, 40);
        check(&folder.open("image"), &folder.reference("image"));
        map::check(&folder, "", "image");
    }
}

#[test]
fn an_image_that_was_not_closed_is_readable() {
    let folder = Folder::new();
    folder.run("qemu-img create -f qcow2 -o lazy_refcounts=on image 3M");
    // qemu-io dies by a signal after this, so the dirty bit stays.
    let status = toolbox::command("qemu-io")
        .args(["-f", "qcow2", "-c", "write -P 7 1M 100k", "-c", "flush", "-c", "abort", "image"])
        .current_dir(folder.path(""))
        .output()
        .unwrap()
        .status;
    assert!(!status.success());
    let bytes = folder.read("image");
    assert_eq!(bytes[79] & 1, 1, "the dirty bit");
    check(&folder.open("image"), &folder.reference("image"));

    let mut bytes = bytes;
    bytes[79] |= 2;
    folder.write("corrupt", &bytes);
    check(&folder.open("corrupt"), &folder.reference("image"));
}

/// The message of the refusal to open these bytes.
fn refused(bytes: Vec<u8>) -> String {
    match open(
        Arc::new(Memory::new("image", bytes)),
        &images::Request { opener: &NoFiles, snapshot: None, budget: &images::Budget::default() },
    ) {
        Err(error @ Error::Unsupported(_)) => error.to_string(),
        Err(other) => panic!("not Unsupported, but: {other}"),
        Ok(_) => panic!("opened"),
    }
}

#[test]
fn encryption_needs_a_key() {
    let folder = Folder::new();
    let secret = "--object secret,id=s,data=abc";
    for (format, name, more) in [("luks", "LUKS", ",encrypt.iter-time=10"), ("aes", "AES", "")] {
        let options = format!("encrypt.format={format},encrypt.key-secret=s{more}");
        folder.run(&format!("qemu-img create -q -f qcow2 {secret} -o {options} image 1M"));
        let image = Arc::new(Memory::new("image", folder.read("image")));
        match open(image, &images::Request { opener: &NoFiles, snapshot: None, budget: &images::Budget::default() }) {
            Err(Error::Denied(why)) => assert!(why.contains(name) && why.contains("no key was given"), "{why}"),
            _ => panic!("want Denied"),
        }
    }
}

#[test]
fn unknown_features_are_refused_by_name() {
    let folder = Folder::new();
    folder.run("qemu-img create -f qcow2 image 1M");
    let image = folder.read("image");
    let mut bytes = image.clone();
    bytes[72] |= 0x80;
    assert!(refused(bytes).contains("bit 63"));
    // QEMU writes a table of names: give one of them to another bit.
    let name = b"extended L2 entries";
    let at = image.windows(name.len()).position(|window| window == name).unwrap();
    let mut bytes = image.clone();
    assert_eq!(bytes[at - 2..at], [0, 4]);
    bytes[at - 1] = 40;
    bytes[74] |= 1;
    bytes[79] |= 0x20;
    let why = refused(bytes);
    assert!(why.contains("bit 5, extended L2 entries (bit 40)"), "{why}");

    let mut bytes = image.clone();
    bytes[4..8].copy_from_slice(&4u32.to_be_bytes());
    assert!(refused(bytes).contains("version 4"));
    // Version 1 has the same magic.
    let mut bytes = image.clone();
    bytes[4..8].copy_from_slice(&1u32.to_be_bytes());
    let error = open(
        Arc::new(Memory::new("image", bytes)),
        &images::Request { opener: &NoFiles, snapshot: None, budget: &images::Budget::default() },
    );
    assert!(matches!(error.err().unwrap(), Error::Unknown(_)), "version 1 is qcow, a format of its own");
    let mut bytes = image.clone();
    bytes[104] = 9;
    assert!(refused(bytes).contains("compression type 9"));
    // Unknown compatible and autoclear bits, and unknown extensions, do no harm.
    let mut bytes = image;
    bytes[80] = 0xff;
    bytes[88] = 0xff;
    bytes[112..116].copy_from_slice(&0x1234_5678u32.to_be_bytes());
    let request = images::Request { opener: &NoFiles, snapshot: None, budget: &images::Budget::default() };
    check(&open(Arc::new(Memory::new("image", bytes)), &request).unwrap(), &[0; 1 << 20]);
}
