//! Encrypted volumes and images that are written, against what QEMU's tools read then.

use std::fs;
use std::sync::Arc;

use images::disk::{Access, HostFile};
use images::{Disk, Options};

use super::qcow::{Folder, Given};
use super::{SECRET, pattern, unlock};

/// Writes here and there, also parts of sectors, and keeps `model` as it must be then.
fn write(disk: &dyn Disk, model: &mut [u8]) {
    let writer = disk.writer(0..disk.size()).unwrap();
    for round in 0..24usize {
        let at = round * 54_321 % (model.len() - 20_000);
        let (at, len) = [(at, 1), (at / 512 * 512, 512), (at, 20_000), (at / 4096 * 4096, 16_384)][round % 4];
        match round % 7 {
            3 => {
                writer.zero_at(at as u64, len as u64).unwrap();
                model[at..at + len].fill(0);
            }
            6 => writer.flush().unwrap(),
            _ => {
                let data: Vec<u8> = (0..len).map(|at| (at * 31 + round) as u8).collect();
                writer.write_at(&data, at as u64).unwrap();
                model[at..at + len].copy_from_slice(&data);
            }
        }
    }
    writer.flush().unwrap();
    let mut now = vec![0; model.len()];
    disk.read_at(&mut now, 0).unwrap();
    assert!(now == model);
}

#[test]
fn volumes_are_written_as_qemu_encrypts_them() {
    let folder = Folder::new();
    let content = pattern(300 << 10);
    fs::write(folder.path("raw"), &content).unwrap();
    for options in [
        "cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=plain64",
        "cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256",
    ] {
        folder.qemu_img(&format!("convert -f raw -O luks -o key-secret=one,iter-time=1,{options} @raw @luks"));
        let mut model = content.clone();
        let file = Arc::new(HostFile::open_for(&folder.path("luks"), Access::ReadWrite).unwrap());
        let disk = unlock(file, None, SECRET).unwrap().unwrap();
        write(&*disk, &mut model);
        drop(disk);
        assert!(folder.reference("driver=luks,key-secret=one,file.filename=@luks") == model, "{options}");
    }
}

#[test]
fn images_are_written_as_qemu_encrypts_them() {
    for (format, more) in
        [("luks", ",cluster_size=4k,extended_l2=off"), ("luks", ",extended_l2=on"), ("aes", ",backing")]
    {
        let folder = Folder::new();
        let content = pattern(300 << 10);
        fs::write(folder.path("raw"), &content).unwrap();
        let iter = if format == "luks" { ",encrypt.iter-time=1" } else { "" };
        let options = format!("encrypt.format={format},encrypt.key-secret=one{iter}");
        match more.strip_prefix(",backing") {
            Some(_) => folder.qemu_img(&format!("create -q -f qcow2 -o {options} -b @raw -F raw @image")),
            None => folder.qemu_img(&format!("convert -f raw -O qcow2 -o {options}{more} @raw @image")),
        };
        let secrets = Given::new(&["pass"]);
        let options = Options { access: Access::ReadWrite, secrets: Some(secrets), ..Options::default() };
        let disk = images::open(&folder.path("image"), &options).unwrap();
        let mut model = content.clone();
        write(&*disk, &mut model);
        drop(disk);
        let image = &format!("driver=qcow2,file.filename=@image,encrypt.format={format},encrypt.key-secret=one");
        assert!(folder.reference(image) == model, "{format}{more}");
        folder.qemu_img(&format!("check -q --image-opts {image}"));
        assert!(fs::read(folder.path("raw")).unwrap() == content);
    }
}
