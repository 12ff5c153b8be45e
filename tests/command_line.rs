//! The command line: what is missing or wrong is said in one line, and what is right does what guestmount does.

mod program;

use std::fs;
use std::io::Read;
use std::process::Stdio;

use program::{Point, eventually, fails_with, guest, imgmount, run, works};

#[test]
fn what_is_missing_is_named() {
    let (guest, point) = (guest(), Point::new());
    fails_with(&[], &["-a", "--help"]);
    fails_with(&["-i", point.text()], &["at least one -a"]);
    fails_with(&["-a", &guest, point.text()], &["-i", "-m"]);
    fails_with(&["-a", &guest, "-i"], &["mountpoint"]);
    fails_with(&["-a", "/no/such/image", "-i", point.text()], &["/no/such/image", "No such file"]);
    fails_with(&["-a", &guest, "-i", "/no/such/directory"], &["/no/such/directory"]);
    fails_with(&["-a", &guest, "--format=raw", "-i", point.text()], &["--format", "before"]);
    fails_with(&["-a", &guest, "--blocksize=512", "-i", point.text()], &["--blocksize", "before"]);
    fails_with(&["--no-such-option"], &["--no-such-option"]);
    assert!(!point.is_mounted());
}

#[test]
fn what_has_no_meaning_here_is_a_clear_error() {
    let (guest, point) = (guest(), Point::new());
    fails_with(&["--live", "-a", &guest, "-i", point.text()], &["--live"]);
    fails_with(&["-a", &guest, "-r", "-w", "-i", point.text()], &["--ro and --rw"]);
    fails_with(&["-a", &guest, "-w", "--owner", "nobody", "-i", point.text()], &["--owner"]);
}

#[test]
fn a_wrong_device_lists_those_that_are_there() {
    let (guest, point) = (guest(), Point::new());
    let there = ["/dev/sda1", "vfat", "/dev/demo/home", "/dev/demo/root", "ext4"];
    fails_with(&["-a", &guest, "-m", "/dev/sda9", point.text()], &there);
    fails_with(&["-a", &guest, "-m", "/dev/demo/nothing", point.text()], &there);
    fails_with(&["-a", &guest, "-m", "/dev/demo/swap", point.text()], &["swap"]);
    fails_with(&["-a", &guest, "-m", "/dev/demo/home:/home", point.text()], &["/dev/demo/home"]);
}

#[test]
fn help_and_version_are_no_failures() {
    assert!(works(&["--help"]).contains("imgmount -a"));
    assert!(works(&["-V"]).starts_with(concat!("imgmount ", env!("CARGO_PKG_VERSION"))));
    assert!(works(&["--version"]).starts_with("imgmount "));
}

#[test]
fn the_tree_is_there_when_the_command_returns() {
    let point = Point::mount(&["-a", &guest(), "-i"]);
    assert_eq!(fs::read_to_string(point.join("etc/hostname")).unwrap(), "demo-guest\n");
    assert_eq!(fs::read_to_string(point.join("root/new.txt")).unwrap(), "this file is in the upper image only\n");
    assert!(point.join("home/anna/book.txt").is_file() && point.join("boot/efi/EFI/BOOT/BOOTX64.EFI").is_file());
    let error = fs::write(point.join("etc/hostname"), "x").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    works(&["unmount", point.text()]);
    assert!(!point.is_mounted());
}

#[test]
fn unmounting_what_is_not_mounted_is_exit_code_3() {
    let point = Point::new();
    let output = run(&["unmount", point.text()]);
    assert_eq!(output.status.code(), Some(3), "as guestunmount has it");
    assert!(String::from_utf8_lossy(&output.stderr).contains(point.text()));
}

#[test]
fn guestmount_and_guestunmount_are_names_of_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let linked = |name: &str| {
        let link = folder.path().join(name);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_imgmount"), &link).unwrap();
        move |arguments: &[&str]| toolbox::command(&link).args(arguments).output().unwrap()
    };
    let (guestmount, guestunmount) = (linked("guestmount"), linked("guestunmount"));
    let point = Point::new();
    let mounted = guestmount(&["-a", &guest(), "-i", "--ro", point.text()]);
    assert!(mounted.status.success() && point.join("etc/fstab").is_file(), "{mounted:?}");
    let unmounted = guestunmount(&[point.text()]);
    assert!(unmounted.status.success() && !point.is_mounted(), "{unmounted:?}");
    let again = guestunmount(&["--no-retry", "-q", point.text()]);
    assert_eq!((again.status.code(), again.stderr), (Some(3), Vec::new()));
    for (output, want) in
        [(guestunmount(&["--help"]), "Usage: guestunmount"), (guestmount(&["-V"]), "guestmount (imgmount) ")]
    {
        assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains(want), "{output:?}");
    }
    // The name of a command is a directory there.
    let said = guestmount(&["-a", &guest(), "-i", "inspect"]);
    assert!(String::from_utf8_lossy(&said.stderr).contains("cannot mount on inspect"), "{said:?}");
}

#[test]
fn the_pid_file_lives_as_long_as_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let pid_file = directory.path().join("pid");
    let point = Point::mount(&["-a", &guest(), "-i", "--pid-file", pid_file.to_str().unwrap()]);
    let pid: u32 = fs::read_to_string(&pid_file).unwrap().trim_end().parse().unwrap();
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    assert!(name.starts_with("imgmount"), "{name}");
    works(&["unmount", point.text()]);
    assert!(!pid_file.exists(), "it is removed after unmounting");
}

#[test]
fn fd_gets_one_zero_byte_when_the_mount_is_usable() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let point = Point::new();
    let mut command = imgmount();
    // Standard output is a descriptor that the test can name.
    command.args(["-a", &guest(), "-i", "--fd", "1", point.text()]).stdout(Stdio::from(writer));
    assert!(command.status().unwrap().success());
    drop(command);
    assert!(point.join("etc/fstab").is_file());
    let mut byte = [9];
    reader.read_exact(&mut byte).unwrap();
    assert_eq!(byte, [0]);
}

#[test]
fn no_fork_serves_in_the_foreground_until_it_is_unmounted() {
    let point = Point::new();
    let mut server = imgmount().args(["-a", &guest(), "-i", "--no-fork", point.text()]).spawn().unwrap();
    eventually("the mount", || point.is_mounted() && point.join("etc/fstab").is_file());
    assert!(server.try_wait().unwrap().is_none(), "it still serves");
    works(&["unmount", point.text()]);
    assert!(server.wait().unwrap().success());
}

#[test]
fn a_signal_unmounts() {
    let directory = tempfile::tempdir().unwrap();
    let pid_file = directory.path().join("pid");
    let point = Point::mount(&["-a", &guest(), "-i", "--pid-file", pid_file.to_str().unwrap()]);
    let pid = fs::read_to_string(&pid_file).unwrap();
    let kill = toolbox::command("kill").args(["-TERM", pid.trim_end()]).status().unwrap();
    assert!(kill.success());
    eventually("the unmounting", || !point.is_mounted() && !pid_file.exists());
}

#[test]
fn filesystems_lists_every_device_as_table_and_as_json() {
    let guest = guest();
    let table = works(&["filesystems", "-a", &guest]);
    for word in
        ["/dev/sda1", "vfat", "DE30-0E5B", "/dev/demo/root", "ext4", "0a1b2c3d-0001-4000-8000-00000000feed", "swap"]
    {
        assert!(table.contains(word), "{word} is not in:\n{table}");
    }
    let json: serde_json::Value = serde_json::from_str(&works(&["filesystems", "-a", &guest, "--json"])).unwrap();
    assert!(json.to_string().contains("/dev/demo/home"), "{json}");
}

#[test]
fn inspect_knows_the_system() {
    let guest = guest();
    let text = works(&["inspect", "-a", &guest]);
    for word in ["debian", "demo-guest", "x86_64", "/dev/demo/root", "/boot/efi", "deb", "apt"] {
        assert!(text.contains(word), "{word} is not in:\n{text}");
    }
    let json: serde_json::Value = serde_json::from_str(&works(&["inspect", "-a", &guest, "--json"])).unwrap();
    assert!(json.to_string().contains("demo-guest"), "{json}");
}
