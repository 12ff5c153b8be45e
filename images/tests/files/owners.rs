//! What ordinary users can and cannot open; needs root, to be two of them.

use std::env;
use std::os::unix::fs::{PermissionsExt, chown};

use super::*;

/// In the process of the other user: the image to open.
const OPEN: &str = "IMGMOUNT_TEST_OPEN";
const ALICE: u32 = 61001;
const BOB: u32 = 61002;
const GROUP: u32 = 61003;

fn own(path: &Path, uid: u32, gid: u32, mode: u32) {
    chown(path, Some(uid), Some(gid)).expect("this test needs root");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Opens the image in a process of Alice, who is also in the group; returns what that printed.
fn as_alice(dir: &Path, image: &str) -> String {
    let output = toolbox::command("setpriv")
        .args([format!("--reuid={ALICE}"), format!("--regid={ALICE}"), format!("--groups={GROUP}")])
        .arg(dir.join("tests"))
        .args(["--exact", "owners::ordinary_users", "--nocapture"])
        .env(OPEN, dir.join(image))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find_map(|line| line.split_once("ANSWER "));
    let (_, answer) = line.unwrap_or_else(|| panic!("{text} {}", String::from_utf8_lossy(&output.stderr)));
    answer.replace(dir.to_str().unwrap(), "DIR")
}

#[test]
fn ordinary_users() {
    if let Some(image) = env::var_os(OPEN) {
        match open_with(Path::new(&image), Backing::Owner) {
            Ok(disk) => println!("ANSWER {} bytes", disk.size()),
            Err(error) => println!("ANSWER {error}"),
        }
        return;
    }
    let (_dir, dir) = with_base();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy(env::current_exe().unwrap(), dir.join("tests")).unwrap();
    run(&dir, "qemu-img create -q -f qcow2 -F raw -b base.img top.qcow2");
    let (top, base) = (dir.join("top.qcow2"), dir.join("base.img"));

    own(&top, BOB, BOB, 0o644);
    own(&base, ALICE, ALICE, 0o600);
    let want = format!(
        "DIR/top.qcow2: it names DIR/base.img, which user {BOB}, the owner of DIR/top.qcow2, may not read; \
         --backing=follow allows it"
    );
    assert_eq!(as_alice(&dir, "top.qcow2"), want, "an image of Bob gets him no file of Alice");

    own(&top, ALICE, ALICE, 0o600);
    own(&base, BOB, GROUP, 0o640);
    assert_eq!(as_alice(&dir, "top.qcow2"), "1048576 bytes", "she reads it as a member of the group");

    own(&base, BOB, BOB, 0o600);
    let want = "DIR/top.qcow2: cannot open DIR/base.img: Permission denied (os error 13)";
    assert_eq!(as_alice(&dir, "top.qcow2"), want);
    own(&top, BOB, BOB, 0o600);
    assert_eq!(as_alice(&dir, "top.qcow2"), "cannot open DIR/top.qcow2: Permission denied (os error 13)");
}
