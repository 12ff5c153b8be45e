//! One guest in every form that guests come in: found by `-i`, and the same tree and the same disk in each.

#![allow(clippy::unwrap_used)] // An unwrap that fails fails the test.

mod form;
mod huge;
mod many;
#[path = "../program/mod.rs"]
mod program;
mod tree;

use form::{Form, each, made, qemu};

#[test]
fn raw() {
    each(&[
        qemu("raw", ""),
        qemu("raw", "-o preallocation=full"),
        made("split.001", "split -b 5M -a 3 --numeric-suffixes=1 source split."),
    ]);
}

#[test]
fn qcow2() {
    each(&[
        qemu("qcow2", ""),
        qemu("qcow2", "-o compat=0.10"),
        qemu("qcow2", "-o cluster_size=512"),
        qemu("qcow2", "-o cluster_size=2M"),
        qemu("qcow2", "-o extended_l2=on,cluster_size=128k"),
        qemu("qcow2", "-o lazy_refcounts=on,refcount_bits=1"),
        qemu("qcow2", "-o refcount_bits=64"),
        qemu("qcow2", "-o preallocation=metadata"),
        qemu("qcow2", "-o preallocation=full"),
        qemu("qcow2", "-c"),
        qemu("qcow2", "-c -o compat=0.10"),
        qemu("qcow2", "-c -o compression_type=zstd"),
        qemu("qcow2", "-c -o cluster_size=2M,compression_type=zstd"),
        qemu("qcow2", "-o data_file=guest.data"),
        qemu("qcow2", "-o data_file=guest.data,data_file_raw=on"),
        Form {
            format: Some("qcow2"),
            ..made(
                "top.qcow2",
                "qemu-img convert -O vmdk source low.vmdk
                 qemu-img create -q -f qcow2 -b low.vmdk -F vmdk middle.qcow2
                 qemu-img create -q -f qcow2 -b middle.qcow2 -F qcow2 top.qcow2",
            )
        },
    ]);
}

#[test]
fn vmdk() {
    each(&[
        qemu("vmdk", ""),
        qemu("vmdk", "-o zeroed_grain=on"),
        qemu("vmdk", "-o compat6=on"),
        qemu("vmdk", "-o adapter_type=lsilogic,hwversion=14"),
        qemu("vmdk", "-o subformat=monolithicFlat"),
        qemu("vmdk", "-o subformat=twoGbMaxExtentSparse"),
        qemu("vmdk", "-o subformat=twoGbMaxExtentFlat"),
        qemu("vmdk", "-o subformat=streamOptimized"),
        Form {
            format: Some("vmdk"),
            ..made(
                "delta.vmdk",
                "qemu-img convert -O vmdk source base.vmdk
                 qemu-img create -q -f vmdk -b base.vmdk -F vmdk delta.vmdk",
            )
        },
    ]);
}

#[test]
fn virtual_box_and_hyper_v() {
    each(&[
        qemu("vdi", ""),
        qemu("vdi", "-o static=on"),
        qemu("vpc", ""),
        qemu("vpc", "-o subformat=fixed"),
        qemu("vpc", "-o force_size=on"),
        qemu("vpc", "-o subformat=fixed,force_size=on"),
        qemu("vhdx", ""),
        qemu("vhdx", "-o subformat=fixed"),
        qemu("vhdx", "-o block_size=256M"),
        qemu("vhdx", "-o block_state_zero=off"),
    ]);
}

#[test]
fn older_ones() {
    each(&[
        qemu("qed", ""),
        qemu("qed", "-o cluster_size=4096,table_size=2"),
        qemu("qcow", ""),
        // qemu-img 10.0 writes all of a compressed image, and ends with status 1 and no word.
        Form { format: Some("qcow"), ..made("packed.qcow", "qemu-img convert -c -O qcow source packed.qcow || true") },
        qemu("parallels", ""),
        qemu("parallels", "-o cluster_size=64k"),
    ]);
}

#[test]
fn encrypted() {
    const SECRET: &str = "--object secret,id=s,data=open";
    let form = |image: &str, options: &str| {
        let format = image.rsplit('.').next().unwrap();
        let make = format!("qemu-img convert {SECRET} -f raw -O {format} -o {options} source {image}");
        Form { secret: Some("open"), ..made(image, &make) }
    };
    each(&[
        form("guest.luks", "key-secret=s,iter-time=10"),
        form(
            "guest.luks",
            "key-secret=s,iter-time=10,cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256",
        ),
        form("guest.qcow2", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"),
        form("guest.qcow2", "encrypt.format=aes,encrypt.key-secret=s"),
        form("guest.qcow", "encrypt.format=aes,encrypt.key-secret=s"),
    ]);
}

#[test]
fn compressed_files() {
    each(&[
        made("guest.raw.gz", "gzip <source >guest.raw.gz"),
        made("guest.raw.xz", "xz -0 <source >guest.raw.xz"),
        made("guest.raw.zst", "zstd -q <source >guest.raw.zst"),
        made("guest.raw.bz2", "bzip2 <source >guest.raw.bz2"),
        made("guest.qcow2.gz", "qemu-img convert -O qcow2 source guest.qcow2; gzip guest.qcow2"),
    ]);
}

#[test]
fn evidence_and_appliances() {
    const OVF: &str = "http://schemas.dmtf.org/ovf/envelope/1";
    let descriptor = format!(
        "<Envelope xmlns=\"{OVF}\" xmlns:ovf=\"{OVF}\"><References><File ovf:href=\"disk.vmdk\" ovf:id=\"a\"/></References>\
         <DiskSection><Disk ovf:capacity=\"1\" ovf:diskId=\"b\" ovf:fileRef=\"a\"/></DiskSection></Envelope>"
    );
    let appliance = format!(
        "qemu-img convert -O vmdk -o subformat=streamOptimized source disk.vmdk
         echo '{descriptor}' >guest.ovf
         tar -cf guest.ova guest.ovf disk.vmdk"
    );
    each(&[
        made("guest.E01", "ewfacquire -q -u -t guest source >log"),
        made("several.E01", "ewfacquire -q -u -S 1400000 -c none -t several source >log"),
        made("guest.ova", &appliance),
        made("guest.ovf", &appliance),
    ]);
}
