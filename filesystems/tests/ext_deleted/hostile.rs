//! Damaged images: no panic, no hang, no promise broken.

use super::*;

/// Random patches of a real image: no panic, no hang, no promise broken.
#[test]
fn damaged_images() {
    let options = "-t ext4 -b 1024 -O extent,metadata_csum,dir_index,has_journal,filetype -I 256 -J size=1";
    let plain = "-t ext4 -b 1024 -O extent,^metadata_csum,dir_index,has_journal,filetype -I 128 -J size=1";
    let Some(_one) = turn(options) else { return };
    for options in [options, plain] {
        let image = Image::new(options, 8, None);
        let mut known = std::collections::HashSet::new();
        {
            let mount = Mount::new(&image, "rw");
            for index in 0..40u64 {
                let path = mount.path.join(format!("d{}/f{index}", index % 3));
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                // Whole blocks, so that those with many zeros are metadata.
                let bytes = content((1 + index as usize) * 1024, index + 1);
                known.insert(hash(&bytes));
                fs::write(path, bytes).unwrap();
            }
            sync();
            let status =
                toolbox::command("rm").arg("-r").args((0..3).map(|i| mount.path.join(format!("d{i}")))).status();
            assert!(status.unwrap().success());
        }
        let bytes = image.bytes();
        let mut random = Random(99);
        let (mut intact, mut nodes) = (0, 0);
        for round in 0..60u64 {
            let mut patched = bytes.clone();
            // Data blocks are left alone: nothing could show that they were changed. The first 900 KiB and the log
            // hold the metadata.
            let metadata: Vec<usize> = (0..patched.len() / 1024)
                .filter(|block| {
                    let block = &patched[block * 1024..][..1024];
                    !block.iter().all(|byte| *byte == 0) && block.iter().filter(|byte| **byte == 0).count() > 200
                })
                .filter(|block| *block > 2)
                .collect();
            for _ in 0..1 + random.below(30) {
                let block = metadata[random.below(metadata.len() as u64) as usize] * 1024;
                match random.below(4) {
                    0 => patched[block..block + 1024].fill(if round % 2 == 0 { 0xff } else { 0 }),
                    1 => {
                        let from = metadata[random.below(metadata.len() as u64) as usize] * 1024;
                        patched.copy_within(from..from + 1024, block);
                    }
                    _ => {
                        for _ in 0..1 + random.below(20) {
                            patched[block + random.below(1024) as usize] = random.below(256) as u8;
                        }
                    }
                }
            }
            let Ok(fs) = ext_image::open(Arc::new(Memory::new("patched", patched))) else {
                continue;
            };
            let Ok(list) = fs.forensics().unwrap().deleted() else { continue };
            for entry in list.iter() {
                nodes += 1;
                let Ok(stat) = fs.stat(entry.node) else { continue };
                let _ = (fs.xattrs(entry.node), fs.read_link(entry.node), fs.extent_at(entry.node, 0));
                let _ = fs.read_dir(entry.node, 0, &mut |_| true);
                if stat.kind == Kind::File && stat.size < 1 << 20 {
                    let bytes = read(&*fs, entry.node);
                    if entry.state == State::Intact && options != plain && stat.size > 0 {
                        assert!(known.contains(&hash(&bytes.unwrap())), "round {round}: {entry:?}");
                        intact += 1;
                    }
                }
            }
            let _ = fs.forensics().unwrap().unallocated();
        }
        println!("{options}: {nodes} nodes of damaged images, {intact} intact");
    }
}
