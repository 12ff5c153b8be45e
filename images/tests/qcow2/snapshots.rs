//! Internal snapshots, by name and by id.

use images::Error;

use crate::tools::content::check;
use crate::tools::*;

#[test]
fn every_snapshot_reads_as_it_was() {
    for (options, resize) in
        [("compat=v3", true), ("extended_l2=on", true), ("cluster_size=512", true), ("compat=0.10", false)]
    {
        let folder = Folder::new();
        folder.write("source", &patterned(11, 3 << 20));
        folder.write("base", &patterned(12, 1 << 20));
        folder.run(&format!("qemu-img create -f qcow2 -o {options} -b base -F raw image 3M"));
        let mut random = Random(5);
        let mut states = Vec::new();
        for step in 0..5u64 {
            let commands: Vec<String> = (0..12)
                .map(|_| {
                    let start = random.below(5000) * 512;
                    match random.below(4) {
                        0 => format!("write -z {start} {}", 512 * (1 + random.below(300))),
                        _ => format!("write -P {} {start} {}", random.below(256), 512 * (1 + random.below(300))),
                    }
                })
                .collect();
            folder.io("image", &commands);
            states.push((format!("state-{step}"), (step + 1).to_string(), folder.reference("image")));
            folder.run(&format!("qemu-img snapshot -c state-{step} image"));
            if resize {
                folder.run(&format!("qemu-img resize image +{}", 512 * 1001));
            }
        }
        for (name, id, want) in &states {
            for wanted in [name, id] {
                let disk = folder.try_open("image", Some(wanted)).unwrap();
                assert!(disk.to_string().contains(wanted.as_str()));
                check(&disk, want);
            }
        }
        check(&folder.open("image"), &folder.reference("image"));
    }
}

#[test]
fn a_wrong_name_lists_what_there_is() {
    let folder = Folder::new();
    folder.run("qemu-img create -f qcow2 image 1M");
    let refused = |wanted| folder.try_open("image", Some(wanted)).err().expect("no such snapshot");
    assert!(refused("x").to_string().contains("no internal snapshots"));
    folder.run("qemu-img snapshot -c before image");
    folder.run("qemu-img snapshot -c twice image");
    folder.run("qemu-img snapshot -c twice image");
    folder.run("qemu-img snapshot -c 2 image");
    let why = refused("x").to_string();
    assert!(why.contains("\"before\" (id \"1\")") && why.contains("\"2\" (id \"4\")"), "{why}");
    assert!(matches!(refused("twice").root(), Error::Ambiguous(_)));
    let disk = folder.try_open("image", Some("2")).unwrap();
    assert_eq!(disk.size(), 1 << 20, "an id goes before a name, as in qemu-img");
}

#[test]
fn an_external_data_file_leaves_no_room_for_snapshots() {
    let folder = Folder::new();
    folder.run("qemu-img create -f qcow2 -o data_file=image.data image 1M");
    let refused = folder.try_open("image", Some("x")).err().expect("no snapshots");
    assert!(matches!(refused.root(), Error::Unsupported(_)), "{refused}");
}
