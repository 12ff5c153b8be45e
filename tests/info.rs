//! `imgmount info` says what `qemu-img info` says, and more.

#![allow(clippy::unwrap_used)] // An unwrap that fails fails the test.

mod program;

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use program::{fails_with, guest, qemu_img, run, works};
use serde_json::Value;

fn ours(image: &str) -> Vec<Value> {
    serde_json::from_str(&works(&["info", "--json", image])).unwrap()
}

fn qemus(image: &str) -> Vec<Value> {
    let mut info = toolbox::command("qemu-img");
    serde_json::from_str(&toolbox::run(info.args(["info", "--output=json", "--backing-chain", image]))).unwrap()
}

/// All that `theirs` has is in `ours` and equal; but what nobody here reads.
#[track_caller]
fn assert_holds(ours: &Value, theirs: &Value, place: &str) {
    match (ours, theirs) {
        (Value::Object(own), Value::Object(other)) => {
            for (name, value) in other {
                let place = format!("{place}.{name}");
                match (name.as_str(), own.get(name)) {
                    // The node graph of QEMU; and the LUKS header inside, which is not read here.
                    ("children" | "slots" | "ivgen-alg" | "hash-alg" | "cipher-alg" | "cipher-mode", _) => {}
                    ("uuid" | "payload-offset" | "master-key-iters" | "detached-header", _) => {}
                    (_, Some(own)) => assert_holds(own, value, &place),
                    _ => panic!("{place} is missing, want {value}: {ours}"),
                }
            }
        }
        (Value::Array(own), Value::Array(other)) => {
            assert_eq!(own.len(), other.len(), "{place}: {ours} {theirs}");
            own.iter().zip(other).for_each(|(own, other)| assert_holds(own, other, place));
        }
        _ => assert_eq!(ours, theirs, "{place}"),
    }
}

#[test]
fn it_agrees_with_qemu_img() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let create = |name: &str, options: &[&str]| {
        qemu_img(&[&["create", "-q", "-f", "qcow2"], options, &[&path(name), "40M"]].concat());
        path(name)
    };
    let secret = ["--object", "secret,id=key,data=abc"];
    let luks = ["-q", "-f", "qcow2", "-o", "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10"];
    qemu_img(&[&["create"], &secret[..], &luks, &[&path("encrypted"), "1M"]].concat());
    let mut images = vec![
        guest(),
        path("encrypted"),
        create("plain", &[]),
        create("old", &["-o", "compat=0.10"]),
        create("narrow", &["-o", "refcount_bits=1,cluster_size=4096,lazy_refcounts=on"]),
        create("zstd", &["-o", "compression_type=zstd,extended_l2=on"]),
        create("external", &["-o", &format!("data_file={},data_file_raw=on", path("data"))]),
    ];
    qemu_img(&["snapshot", "-q", "-c", "a snapshot", &path("plain")]);
    qemu_img(&["snapshot", "-q", "-c", "another/one\u{1b}[2J", &path("plain")]);
    qemu_img(&["create", "-q", "-f", "qcow2", "-b", "plain", "-F", "qcow2", &path("above")]);
    qemu_img(&["create", "-q", "-f", "qcow2", "-b", &path("above"), "-F", "qcow2", &path("top")]);
    images.push(path("top"));
    qemu_img(&["convert", "-O", "raw", &guest(), &path("raw")]);
    images.push(path("raw"));
    for image in &images {
        let (own, other) = (ours(image), qemus(image));
        assert_eq!(own.len(), other.len(), "{image}");
        for (depth, (own, other)) in own.iter().zip(&other).enumerate() {
            let mut other = other.clone();
            // Of raw images QEMU says which driver reads the file.
            if other["format"] == "raw" {
                other.as_object_mut().unwrap().remove("format-specific");
            }
            assert_holds(own, &other, image);
            assert_eq!(own["depth"], depth, "{image}");
            assert_eq!(own["owner"]["mode"], "0644", "{image}");
        }
    }
    let text = works(&["info", &path("top")]);
    for word in ["qcow2, version 1.1", "40 MiB (41943040 bytes)", "a snapshot", "backing file", "mode 0644", "of holes"]
    {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(!text.contains('\u{1b}'), "{text}");
    assert!(works(&["info", &path("encrypted")]).contains("luks"));
    assert_eq!(ours(&path("external"))[0]["files"][0]["filename"], path("data"));
}

#[test]
fn extents_add_up() {
    let top = &ours(&guest())[0];
    let extents = &top["extents"];
    let sum: u64 = ["data", "zero", "hole", "not-counted"].iter().map(|name| extents[name].as_u64().unwrap()).sum();
    assert_eq!(sum, top["virtual-size"].as_u64().unwrap());
    let map = toolbox::command("qemu-img").args(["map", "--output=json", &guest()]).output().unwrap();
    let map: Value = serde_json::from_slice(&map.stdout).unwrap();
    let data = map.as_array().unwrap().iter().filter(|run| run["data"] == true);
    assert_eq!(extents["data"].as_u64().unwrap(), data.map(|run| run["length"].as_u64().unwrap()).sum::<u64>());
}

/// Formats that have nothing to say of themselves here: their sizes and the chain are known all the same.
#[test]
fn chains_of_other_formats_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    qemu_img(&["convert", "-O", "vmdk", &guest(), &path("base.vmdk")]);
    qemu_img(&["create", "-q", "-f", "vmdk", "-b", &path("base.vmdk"), "-F", "vmdk", &path("delta.vmdk")]);
    qemu_img(&["create", "-q", "-f", "qcow2", "-b", "delta.vmdk", "-F", "vmdk", &path("top")]);
    let (own, other) = (ours(&path("top")), qemus(&path("top")));
    let chain = |layers: &[Value], field: &str| layers.iter().map(|layer| layer[field].clone()).collect::<Vec<_>>();
    for field in ["format", "virtual-size", "actual-size", "filename"] {
        assert_eq!(chain(&own, field), chain(&other, field), "{field}");
    }
    assert_eq!(own.len(), 3);
}

#[test]
fn several_images_are_one_list() {
    let both: Vec<Value> = serde_json::from_str(&works(&["info", "--json", &guest(), &guest()])).unwrap();
    assert_eq!(both.iter().map(|layer| layer["depth"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 0, 1]);
}

#[test]
fn what_is_found_is_shown_and_what_is_missing_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    qemu_img(&["create", "-q", "-f", "qcow2", &path("base"), "1M"]);
    qemu_img(&["create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", &path("top")]);
    fs::rename(path("base"), path("gone")).unwrap();
    let output = run(&["info", "--json", &path("top")]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("No such file") && said.lines().count() == 1, "{said}");
    let layers: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((layers.len(), &layers[0]["backing-filename"]), (1, &Value::from("base")));
    assert!(layers[0]["problem"].as_str().unwrap().contains("No such file"));
    // What the image's owner may not read is not described either.
    fs::rename(path("gone"), path("base")).unwrap();
    if rustix::process::geteuid().is_root() {
        use std::os::unix::fs::PermissionsExt;
        chown(Path::new(&path("top")), Some(1000), Some(1000)).unwrap();
        fs::set_permissions(path("base"), fs::Permissions::from_mode(0o600)).unwrap();
        let output = run(&["info", &path("top")]);
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("--backing=follow"));
        assert!(works(&["info", "--backing=follow", &path("top")]).contains("0:0, mode 0600"));
    }
    fails_with(&["info", "--backing=none", &path("top")], &["--backing=none"]);
    fails_with(&["info", &path("none")], &["No such file"]);
    fails_with(&["info", "--format=unheard-of", &path("top")], &["unheard-of", "qcow2"]);
    fs::write(path("broken"), b"QFI\xfb\0\0\0\x03").unwrap();
    fails_with(&["info", &path("broken")], &["truncated"]);
    assert!(works(&["info", "--format=raw", &path("broken")]).contains("8 B"));
    assert_eq!(run(&["info"]).status.code(), Some(1));
}
