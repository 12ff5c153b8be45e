//! What an image may name that comes from a server.

use std::fs;
use std::path::Path;

use images::info::Layer;
use images::{Backing, Options};

use crate::{options, read, source};

/// A toy on the shelf, which names `name`.
fn toy(address: &str, name: &str) {
    source::put(address, format!("toy\n{name}\n").into_bytes());
}

fn open(address: &str, backing: Backing) -> Result<Vec<u8>, String> {
    let disk = images::open(Path::new(address), &Options { backing, ..options() });
    disk.map(|disk| read(&*disk)).map_err(|error| error.to_string())
}

#[test]
fn a_servers_image_names_what_lies_beside_it() {
    source::put("shelf://s/vms/base/a%20b.img", b"olleh".to_vec());
    toy("shelf://s/vms/tops/top.backwards", "../base/a b.img");
    assert_eq!(open("shelf://s/vms/tops/top.backwards", Backing::Owner).unwrap(), b"hello");
    let layers = images::info(Path::new("shelf://s/vms/tops/top.backwards"), &options()).unwrap();
    let shown = |layer: &Layer| layer.file.location.to_string();
    assert_eq!(shown(&layers[1]), "shelf://s/vms/base/a%20b.img");
    assert!(layers[1].file.metadata.is_none());
    let error = open("shelf://s/vms/tops/top.backwards", Backing::None).unwrap_err();
    assert!(error.ends_with("it names ../base/a b.img, and --backing=none allows no other file"), "{error}");
    toy("shelf://s/gone", "nowhere");
    let error = open("shelf://s/gone", Backing::Owner).unwrap_err();
    assert!(error.starts_with("shelf://s/gone: cannot open shelf://s/nowhere: "), "{error}");
    toy("shelf://s/a.backwards", "b.backwards");
    toy("shelf://s/b.backwards", "./x/../a.backwards");
    let error = open("shelf://s/a.backwards", Backing::Owner).unwrap_err();
    assert!(error.contains("a loop: it names shelf://s/a.backwards"), "{error}");
}

#[test]
fn a_servers_image_gets_no_file_of_this_host() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "terces").unwrap();
    let path = secret.to_str().unwrap();
    let json = format!(r#"json:{{"driver":"raw","file":{{"driver":"file","filename":"{path}"}}}}"#);
    for name in [path.to_owned(), format!("file:{path}"), json] {
        toy("shelf://s/top", &name);
        let error = open("shelf://s/top", Backing::Owner).unwrap_err();
        let want = format!("it names {path}, a file of this host, and an image from a server gets none");
        assert!(error.contains(&want), "{error}");
        assert_eq!(open("shelf://s/top", Backing::Follow).unwrap(), b"secret", "the user allows it");
    }
    // As many steps up as there may be lead to the top of the server.
    let up = format!("{}{}", "../".repeat(20), path.trim_start_matches('/'));
    toy("shelf://s/top", &up);
    for backing in [Backing::Owner, Backing::Follow] {
        let error = open("shelf://s/top", backing).unwrap_err();
        assert!(error.contains(&format!("cannot open shelf://s{path}")), "{error}");
    }
    toy("shelf://s/top", "file:secret");
    assert!(open("shelf://s/top", Backing::Follow).unwrap_err().contains("lies in no folder of it"));
}

#[test]
fn a_servers_image_reaches_no_other_server_and_an_image_of_this_host_none() {
    source::put("shelf://other/part", b"x".to_vec());
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path().join("top");
    fs::write(&local, "toy\nshelf://other/part\n").unwrap();
    toy("shelf://s/outside", "shelf://other/part");
    for backing in [Backing::Owner, Backing::Follow] {
        for top in ["shelf://s/outside", local.to_str().unwrap()] {
            let error = open(top, backing).unwrap_err();
            assert!(error.ends_with("shelf://other/part has the protocol shelf, only file is read"), "{error}");
        }
    }
    toy("shelf://s/slashes", "//other/part");
    assert!(open("shelf://s/slashes", Backing::Owner).unwrap_err().contains("a file of this host"));
    toy("lone://s/top", "part");
    let error = open("lone://s/top", Backing::Owner).unwrap_err();
    assert!(error.contains("it names part, and nothing lies beside an image of lone"), "{error}");
}

#[test]
fn probes_ask_a_server_for_few_pages() {
    source::put("shelf://s/raw.img", vec![7; 1 << 20]);
    images::open(Path::new("shelf://s/raw.img"), &options()).unwrap();
    // The first page, and the last for the formats that end with what they are.
    assert_eq!(source::reads("shelf://s/raw.img"), 2);
}

#[test]
fn parts_of_a_server_are_one_image() {
    source::put("shelf://s/disk.001", vec![1; 512]);
    source::put("shelf://s/disk.002", vec![2; 512]);
    let disk = images::open(Path::new("shelf://s/disk.001"), &options()).unwrap();
    assert_eq!((disk.size(), read(&*disk)[512]), (1024, 2));
}
