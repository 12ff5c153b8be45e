//! Ways round the gate, one by one: each was open once, or is what one would try next.

use std::fs;
use std::process::Stdio;

use images::{Backing, Data, Disk, Error, Options};

use crate::formats::qcow2;
use crate::world::*;

const SECRET: &[u8; 4096] = &[b'S'; 4096];

/// A world with a file that is root's alone, and a directory of Alice.
fn world() -> World {
    let world = World::new();
    world.write("secret", SECRET, ROOT, ROOT, 0o600);
    world.directory("alice", ALICE, 0o755);
    world
}

/// An image of a user that names a raw file.
fn image(world: &World, path: &str, name: &str, user: u32) {
    world.write(path, &qcow2(name, "raw"), user, user, 0o644);
}

fn first_byte(disk: &dyn Disk) -> u8 {
    let mut byte = [0];
    disk.read_at(&mut byte, 0).unwrap();
    byte[0]
}

/// What is said of a file that Alice may not read.
fn denied(image: &str, named: &str) -> String {
    format!(
        "it names WORLD/{named}, which user {ALICE}, the owner of WORLD/{image}, may not read; --backing=follow allows it"
    )
}

#[test]
fn parts_of_a_split_file_are_named_by_who_named_the_first() {
    let world = world();
    world.write("shell", &[1; 4096], ROOT, ROOT, 0o755);
    world.write("alice/e.qcow2", &qcow2("./foo.001", "split"), ALICE, ALICE, 0o644);
    // Both parts are links to files of root: the first may be read by all.
    world.link("alice/foo.001", "../shell", ALICE);
    world.link("alice/foo.002", "../secret", ALICE);
    let refusal = world.refusal("alice/e.qcow2");
    assert!(
        refusal.ends_with("a split image is opened by its first part, whose name ends in .001, .000 or .aa"),
        "{refusal}"
    );
    fs::remove_file(world.path("alice/foo.001")).unwrap();
    world.write("alice/foo.001", &[1; 4096], ROOT, ROOT, 0o644);
    let refusal = world.refusal("alice/e.qcow2");
    assert!(refusal.ends_with(&denied("alice/e.qcow2", "alice/./foo.002")), "{refusal}");
    let follow = Options { backing: Backing::Follow, ..Options::default() };
    world.open("alice/e.qcow2", &follow).unwrap();
}

#[test]
fn names_are_looked_up_beside_the_image_and_not_beside_a_link_to_it() {
    let world = world();
    world.directory("root", ROOT, 0o755);
    world.write("root/base.raw", &[b'B'; 4096], ROOT, ROOT, 0o600);
    image(&world, "root/vm.qcow2", "base.raw", ROOT);
    world.link("alice/vm.qcow2", "../root/vm.qcow2", ALICE);
    world.link("alice/base.raw", "../secret", ALICE);
    assert_eq!(first_byte(&*world.open("alice/vm.qcow2", &Options::default()).unwrap()), b'B');
}

#[test]
fn a_group_of_an_image_is_not_its_owners() {
    let world = world();
    world.directory("drop", ROOT, 0o3777);
    world.own("drop", ROOT, GROUP, 0o3777);
    world.write("grouped", SECRET, ROOT, GROUP, 0o640);
    // In a set-group-id directory every file gets the directory's group.
    as_user(ALICE, || fs::write(world.path("drop/e.qcow2"), qcow2("../grouped", "raw")).unwrap());
    assert_eq!(
        world.refusal("drop/e.qcow2"),
        "WORLD/drop/e.qcow2: ".to_owned() + &denied("drop/e.qcow2", "drop/../grouped")
    );
}

#[test]
fn access_lists_count_as_the_kernel_counts_them() {
    let world = world();
    world.write("listed", SECRET, ROOT, GROUP, 0o600);
    world.list("listed", BOB, 4);
    world.write("alice/mask.qcow2", &qcow2("../listed", "raw"), ALICE, GROUP, 0o644);
    assert!(world.refusal("alice/mask.qcow2").ends_with(&denied("alice/mask.qcow2", "alice/../listed")));
    image(&world, "alice/bob.qcow2", "../listed", BOB);
    world.open("alice/bob.qcow2", &Options::default()).unwrap();
    world.write("open", SECRET, ROOT, ROOT, 0o644);
    world.list("open", ALICE, 0);
    image(&world, "alice/deny.qcow2", "../open", ALICE);
    assert!(world.refusal("alice/deny.qcow2").ends_with(&denied("alice/deny.qcow2", "alice/../open")));
    image(&world, "alice/bob.qcow2", "../open", BOB);
    world.open("alice/bob.qcow2", &Options::default()).unwrap();
}

#[test]
fn a_file_out_of_its_owners_reach_is_out_of_his_images_reach() {
    let world = world();
    world.directory("held", ROOT, 0o700);
    world.write("held/f", SECRET, ALICE, ALICE, 0o600);
    image(&world, "alice/e.qcow2", "../held/f", ALICE);
    assert!(world.refusal("alice/e.qcow2").ends_with(&denied("alice/e.qcow2", "alice/../held/f")));
}

#[test]
fn a_disk_whose_guest_wrote_a_header_names_nothing_private() {
    let world = world();
    image(&world, "disk.img", "secret", ROOT);
    let refusal = world.refusal("disk.img");
    assert!(
        refusal.contains("only its content, which a guest can write, says that WORLD/disk.img is a qcow2"),
        "{refusal}"
    );
    let raw = Options { format: Some("raw".into()), ..Options::default() };
    assert_eq!(first_byte(&*world.open("disk.img", &raw).unwrap()), b'Q');
    // Below an image that does not say what it is over, the same.
    world.write("over.qcow2", &unsaid("disk.img"), ROOT, ROOT, 0o644);
    let refusal = world.refusal("over.qcow2");
    assert!(refusal.contains("only its content"), "{refusal}");
    world.write("over.qcow2", &qcow2("disk.img", "qcow2"), ROOT, ROOT, 0o644);
    world.open("over.qcow2", &Options::default()).unwrap();
}

/// An image that does not record the format of the file that it names.
fn unsaid(name: &str) -> Vec<u8> {
    let mut image = qcow2(name, "raw");
    let at = image.windows(4).position(|four| four == [0xe2, 0x79, 0x2a, 0xca]).unwrap();
    image[at..at + 4].copy_from_slice(b"none");
    image
}

#[test]
fn what_another_process_has_is_not_named() {
    let world = world();
    let mut child = toolbox::command("unshare")
        .args(["--mount", "sh", "-c"])
        .arg(format!(
            "mount -t tmpfs none {0} && cp {1} {0}/f && chmod 644 {0}/f && echo && sleep 60",
            world.path("alice").display(),
            world.path("secret").display()
        ))
        .stdout(Stdio::piped())
        .spawn()
        .expect("apt-get install util-linux");
    let mut ready = [0];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
    let inside = world.path("alice/f");
    let opened = fs::File::open(world.path("secret")).unwrap();
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&opened);
    for name in [
        format!("/proc/{}/root{}", child.id(), inside.display()),
        format!("/proc/{}/cwd/f", child.id()),
        format!("/proc/self/fd/{descriptor}"),
        format!("/proc/thread-self/fd/{descriptor}"),
        format!("/dev/fd/{descriptor}"),
    ] {
        for user in [ROOT, ALICE] {
            world.write("e.qcow2", &qcow2(&name, "raw"), user, user, 0o644);
            let refusal = world.refusal("e.qcow2");
            assert!(refusal.contains("or through one of /proc to what a process has open"), "{refusal}");
        }
    }
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn an_image_in_the_pieces_of_an_appliance_is_who_wrote_the_pieces() {
    let world = world();
    let text = "<?xml version=\"1.0\"?><Envelope xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\" \
                xmlns:ovf=\"http://schemas.dmtf.org/ovf/envelope/1\"><References><File ovf:id=\"f\" ovf:href=\"d\" \
                ovf:chunkSize=\"8192\"/></References><DiskSection><Info/><Disk ovf:diskId=\"d\" ovf:fileRef=\"f\" \
                ovf:capacity=\"4096\" ovf:format=\"http://www.vmware.com/interfaces/specifications/vmdk.html\"/>\
                </DiskSection></Envelope>";
    world.write("a.ovf", text.as_bytes(), ROOT, ROOT, 0o644);
    image(&world, "d.000000000", "secret", ROOT);
    assert_eq!(first_byte(&*world.open("a.ovf", &Options::default()).unwrap()), b'S');
    image(&world, "d.000000000", "secret", ALICE);
    assert!(
        world.refusal("a.ovf").contains(&format!("which user {ALICE}, the owner of WORLD/./d.000000000, may not read"))
    );
}

#[test]
fn an_image_that_others_can_write_is_theirs_too() {
    let world = world();
    world.write("e.qcow2", &qcow2("secret", "raw"), ROOT, ROOT, 0o666);
    assert!(world.refusal("e.qcow2").contains("others than its owner may write WORLD/e.qcow2"));
    world.own("e.qcow2", ROOT, ROOT, 0o600);
    world.open("e.qcow2", &Options::default()).unwrap();
    world.list("e.qcow2", ALICE, 6);
    assert!(world.refusal("e.qcow2").contains("others than its owner may write WORLD/e.qcow2"));
}

#[test]
fn links_and_names_without_end_end() {
    let world = world();
    world.link("a", "b", ROOT);
    world.link("b", "a", ROOT);
    image(&world, "e.qcow2", "a", ROOT);
    assert!(world.refusal("e.qcow2").contains("more than 40 links"));
    world.link("here", ".", ALICE);
    // Each link is all that a link can be: 40 of them would be 80,000 steps.
    let mut text = "here/".repeat(38);
    text += &"./".repeat(1900);
    text += "here";
    world.link("long", &text, ALICE);
    image(&world, "e.qcow2", "long/long/long/secret", ROOT);
    let refusal = world.refusal("e.qcow2");
    assert!(refusal.contains("File name too long") || refusal.contains("more than 40 links"), "{refusal}");
}

#[test]
fn opening_for_others_leaves_this_process_as_it_is() {
    let world = world();
    image(&world, "alice/e.qcow2", "../secret", ALICE);
    world.write("alice/f", &[1; 4096], ALICE, ALICE, 0o600);
    image(&world, "alice/g.qcow2", "f", ALICE);
    for _ in 0..3 {
        assert!(matches!(world.open("alice/e.qcow2", &Options::default()).err().unwrap().root(), Error::Denied(_)));
        let disk = world.open("alice/g.qcow2", &Options::default()).unwrap();
        assert!(matches!(disk.extent_at(0).unwrap().data, Data::Host(..)));
        assert_eq!(fs::read(world.path("secret")).unwrap(), SECRET);
    }
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert_eq!(line("Uid:"), "Uid:\t0\t0\t0\t0");
    assert_eq!(line("Gid:"), "Gid:\t0\t0\t0\t0");
}
