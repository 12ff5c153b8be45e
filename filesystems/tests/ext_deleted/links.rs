//! Files of several names.

use super::*;

/// The paths under which the content with this hash is listed.
fn paths_of(fs: &dyn FileSystem, wanted: &str) -> Vec<String> {
    let (list, living) = (fs.forensics().unwrap().deleted().unwrap(), living(fs));
    let newest = list.iter().filter(|deleted| deleted.version == 0);
    let same = newest.filter(|deleted| read(fs, deleted.node).is_some_and(|bytes| hash(&bytes) == wanted));
    let mut paths: Vec<String> = same.filter_map(|deleted| path(&list, &living, deleted)).collect();
    paths.sort();
    paths
}

#[test]
fn all_names_of_a_file() {
    for options in [
        "-t ext4 -b 4096 -O extent,metadata_csum,dir_index,has_journal,filetype -I 256 -J size=8",
        "-t ext3 -b 1024 -O has_journal,dir_index,filetype -I 128 -J size=8",
    ] {
        let Some(_one) = turn(options) else { return };
        let image = Image::new(options, 64, None);
        let bytes: Vec<Vec<u8>> = (1..=4u64).map(|seed| content(20_000 * seed as usize, seed)).collect();
        {
            let mount = Mount::new(&image, "rw");
            let at = |path: &str| mount.path.join(path);
            (0..3).for_each(|index| fs::create_dir(at(&format!("d{index}"))).unwrap());
            fs::write(at("d0/at once"), &bytes[0]).unwrap();
            fs::hard_link(at("d0/at once"), at("d1/second")).unwrap();
            fs::hard_link(at("d0/at once"), at("third")).unwrap();
            fs::write(at("d0/in steps"), &bytes[1]).unwrap();
            fs::hard_link(at("d0/in steps"), at("d0/other")).unwrap();
            fs::hard_link(at("d0/in steps"), at("d2/gone too")).unwrap();
            fs::write(at("old name"), &bytes[2]).unwrap();
            fs::write(at("stays"), &bytes[3]).unwrap();
            fs::hard_link(at("stays"), at("one name less")).unwrap();
            sync();
            fs::rename(at("old name"), at("d1/new name")).unwrap();
            sync();
            let remove = |path: &str| fs::remove_file(at(path)).unwrap();
            ["d0/at once", "d1/second", "third"].into_iter().for_each(remove);
            for path in ["d0/other", "d0/in steps", "d2/gone too", "d1/new name", "one name less"] {
                remove(path);
                sync();
            }
            fs::remove_dir(at("d2")).unwrap();
        }
        let fs = image.open();
        let of = |index: usize| paths_of(&*fs, &hash(&bytes[index]));
        assert_eq!(of(0), ["d0/at once", "d1/second", "third"], "{options}");
        assert_eq!(of(1), ["d0/in steps", "d0/other", "d2/gone too"], "{options}");
        assert_eq!(of(2), ["d1/new name"], "{options}: an old name is no second one");
        assert!(of(3).is_empty(), "{options}: it lives");
        let list = fs.forensics().unwrap().deleted().unwrap();
        let nodes: BTreeSet<u64> = list.iter().map(|deleted| deleted.node.0).collect();
        assert_eq!(nodes.len() + 4, list.len(), "{options}: one node, several entries");
    }
}
