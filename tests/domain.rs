//! `-d`: the disks of a libvirt guest, asked of a virsh that is a script, or read from a file.

#![allow(clippy::unwrap_used)] // An unwrap that fails fails the test.

mod program;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use program::{Point, fails_with, guest, imgmount, run, works};

/// A folder with a virsh of its own, which writes down what it is asked.
struct Host {
    directory: tempfile::TempDir,
}

impl Host {
    fn new(state: &str) -> Self {
        let host = Self { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(host.at("bin")).unwrap();
        let script = format!(
            "#!/bin/sh
cd {}
echo \"$LC_ALL $*\" >>asked
for word; do case $word in --connect=*) shift;; esac; done
case \"$1 $2\" in
'dumpxml --domain=demo'|'dumpxml --domain=0a1b2c3d-0000-4000-8000-000000000001') cat demo.xml;;
'dumpxml --domain=endless') yes;;
'dumpxml '*) echo \"error: failed to get domain '${{2#--domain=}}'\" >&2; exit 1;;
'domstate '*) printf '{state}\\n\\n';;
'vol-path --pool=images') test \"$3\" = --vol=guest.qcow2 && echo {};;
*) exit 1;;
esac
",
            host.directory.path().display(),
            guest()
        );
        fs::write(host.at("bin/virsh"), script).unwrap();
        fs::set_permissions(host.at("bin/virsh"), fs::Permissions::from_mode(0o755)).unwrap();
        let second = host.at("second.raw");
        fs::write(&second, [7; 1 << 16]).unwrap();
        host.define(&format!(
            "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>{}{}",
            disk(&guest(), "qcow2", "vda"),
            disk(second.to_str().unwrap(), "raw", "vdb")
        ));
        host
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn define(&self, disks: &str) {
        let xml = format!("<domain type='kvm'><name>demo</name><devices>{disks}</devices></domain>");
        fs::write(self.at("demo.xml"), xml).unwrap();
    }

    fn asked(&self) -> String {
        fs::read_to_string(self.at("asked")).unwrap_or_default()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let path = format!("{}:{}", self.at("bin").display(), toolbox::search_path());
        imgmount().args(arguments).env("PATH", path).output().unwrap()
    }

    #[track_caller]
    fn works(&self, arguments: &[&str]) -> (String, String) {
        let output = self.run(arguments);
        let [out, said] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(output.status.success(), "{arguments:?}: {said}");
        (out, said)
    }

    #[track_caller]
    fn fails_with(&self, arguments: &[&str], words: &[&str]) {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{arguments:?}: {word:?} is not in: {said}");
        }
    }
}

fn disk(path: &str, format: &str, target: &str) -> String {
    format!(
        "<disk type='file' device='disk'><driver name='qemu' type='{format}'/><source file='{path}'/>
         <target dev='{target}' bus='virtio'/></disk>"
    )
}

#[test]
fn a_guest_by_its_name_is_its_disks_in_their_order() {
    let host = Host::new("shut off");
    let point = Point::new();
    let (_, said) = host.works(&["-c", "qemu:///system", "-d", "demo", "-i", point.text()]);
    assert_eq!(said, "", "a guest that is shut off is read without a warning");
    assert_eq!(fs::read_to_string(point.join("etc/hostname")).unwrap(), "demo-guest\n");
    works(&["unmount", point.text()]);
    // Once, although the program starts itself again to serve.
    let want = "C --connect=qemu:///system dumpxml --domain=demo\nC --connect=qemu:///system domstate --domain=demo\n";
    assert_eq!(host.asked(), want);
    let (table, _) = host.works(&["filesystems", "-d", "demo"]);
    assert!(table.contains("/dev/sdb") && table.contains("/dev/demo/root"), "{table}");
    let (text, _) = host.works(&["inspect", "-d", "0a1b2c3d-0000-4000-8000-000000000001"]);
    assert!(text.contains("demo-guest"), "{text}");
    assert!(host.asked().ends_with("C domstate --domain=0a1b2c3d-0000-4000-8000-000000000001\n"), "{}", host.asked());
}

#[test]
fn images_and_guests_are_in_one_row() {
    let host = Host::new("shut off");
    let first = host.at("first.raw");
    fs::write(&first, [1; 4096]).unwrap();
    let point = Point::new();
    let first = first.to_str().unwrap();
    host.works(&["-a", first, "-d", "demo", "-a", first, "--blocks", point.text()]);
    assert_eq!(fs::read(point.join("sda")).unwrap(), [1; 4096]);
    assert!(point.join("sdb1").is_file());
    assert_eq!(fs::read(point.join("sdc")).unwrap(), [7; 1 << 16]);
    assert_eq!(fs::read(point.join("sdd")).unwrap(), [1; 4096]);
}

#[test]
fn a_running_guest_is_read_with_a_warning() {
    for state in ["running", "paused"] {
        let host = Host::new(state);
        let (table, said) = host.works(&["filesystems", "-d", "demo"]);
        assert!(table.contains("/dev/demo/root"));
        assert!(said.contains("warning: guest demo is ") && said.contains(state), "{said}");
    }
}

#[test]
fn a_file_with_the_xml_stands_for_a_name() {
    let host = Host::new("running");
    let xml = host.at("demo.xml");
    let (table, said) = host.works(&["filesystems", "-d", xml.to_str().unwrap()]);
    assert!(table.contains("/dev/demo/root") && table.contains("/dev/sdb"), "{table}");
    assert_eq!((said.as_str(), host.asked().as_str()), ("", ""), "virsh is not asked");
    fails_with(&["filesystems", "-d", "/none.xml"], &["/none.xml", "No such file"]);
    host.define("");
    fails_with(&["filesystems", "-d", xml.to_str().unwrap()], &["demo.xml", "no disks"]);
    fs::write(&xml, "<domain><devices>").unwrap();
    fails_with(&["filesystems", "-d", xml.to_str().unwrap()], &["demo.xml", "XML cannot be read"]);
    fs::write(&xml, vec![b' '; 2 << 20]).unwrap();
    fails_with(&["filesystems", "-d", xml.to_str().unwrap()], &["longer than"]);
}

#[test]
fn the_format_is_what_the_guest_sees() {
    let host = Host::new("shut off");
    // A disk that the guest has as raw is raw, whatever the guest wrote to its start.
    host.define(&disk(&guest(), "raw", "vda"));
    let (table, _) = host.works(&["filesystems", "-d", "demo"]);
    assert!(!table.contains("/dev/demo/root"), "{table}");
    host.define(&disk(&guest(), "unheard-of", "vda"));
    host.fails_with(&["filesystems", "-d", "demo"], &["unheard-of", "qcow2"]);
    host.define("<disk type='volume'><driver type='qcow2'/><source pool='images' volume='guest.qcow2'/></disk>");
    assert!(host.works(&["filesystems", "-d", "demo"]).0.contains("/dev/demo/root"));
    host.define("<disk type='network'><source protocol='rbd' name='pool/image'/><target dev='vda'/></disk>");
    host.fails_with(&["filesystems", "-d", "demo"], &["guest demo", "disk vda", "network", "rbd pool/image", "-a"]);
}

#[test]
fn what_virsh_does_not_do_is_said() {
    let host = Host::new("shut off");
    host.fails_with(&["filesystems", "-d", "none"], &["virsh dumpxml", "failed to get domain 'none'"]);
    host.fails_with(&["filesystems", "--domain=--all"], &["failed to get domain '--all'"]);
    host.fails_with(&["filesystems", "-d", "endless"], &["longer than"]);
    host.fails_with(&["filesystems", "-c", "qemu:///system", "-a", &guest()], &["--domain"]);
    // Without any virsh.
    let empty = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_imgmount"));
    let output =
        toolbox::command(program).args(["filesystems", "-d", "demo"]).env("PATH", empty.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("libvirt-clients") && said.contains("dumpxml"), "{said}");
}

/// libvirt's own test driver takes its guests from a file, and its virsh is the real one.
#[test]
fn the_real_virsh_is_understood() {
    let host = Host::new("shut off");
    let volume = host.at("pool").join("a volume.qcow2");
    fs::create_dir(host.at("pool")).unwrap();
    let uuid = "0a1b2c3d-0000-4000-8000-000000000001";
    let guest = disk(&guest(), "qcow2", "vda");
    fs::write(
        host.at("node.xml"),
        format!(
            "<node><domain type='test'><name>--demo guest</name><uuid>{uuid}</uuid><memory>1000</memory>
             <os><type>hvm</type></os><devices>{guest}
             <disk type='volume'><driver type='raw'/><source pool='images' volume='a volume.qcow2'/>
             <target dev='vdb' bus='virtio'/><readonly/></disk></devices></domain>
             <pool type='dir'><name>images</name><target><path>{}</path></target>
             <volume><name>a volume.qcow2</name><capacity>65536</capacity></volume></pool></node>",
            host.at("pool").display()
        ),
    )
    .unwrap();
    fs::write(&volume, [9; 1 << 16]).unwrap();
    let uri = format!("--connect=test://{}", host.at("node.xml").display());
    for name in ["--domain=--demo guest".to_owned(), format!("--domain={uuid}")] {
        let output = run(&["filesystems", "-v", &uri, &name]);
        let [out, said] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(output.status.success(), "{said}; virsh is in libvirt-clients");
        assert!(out.contains("/dev/demo/root") && out.contains("/dev/sdb"), "{out}");
        assert!(said.contains("is running: what is read"), "{said}");
        assert!(said.contains("a volume.qcow2, which it may only read"), "{said}");
    }
    fails_with(&["inspect", &uri, "--domain=nobody"], &["virsh dumpxml", "failed to get domain 'nobody'"]);
}
