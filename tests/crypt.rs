//! Encrypted guests through the whole program: LUKS on LVM, LVM on LUKS, BitLocker, and images that are encrypted as
//! such.

// The functions that the tests share are tests too, which clippy cannot see.
#![allow(clippy::unwrap_used)]

mod program;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Output, Stdio};

use program::{Point, works};
use toolbox::NOBODY;

/// Each guest, and the line in its `/home/note`.
const GUESTS: [(&str, &str); 2] = [
    ("luks-on-lvm", "home is on its own encrypted volume\n"),
    ("lvm-on-luks", "home is a volume of the encrypted group\n"),
];

fn image(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/luks/{name}.qcow2")).display().to_string()
}

/// The program without a terminal, with this on its standard input.
fn without_terminal(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = toolbox::command("setsid")
        .args(["--wait", "timeout", "60", env!("CARGO_BIN_EXE_imgmount")])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It need not read what it does not want.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

#[track_caller]
fn refused(arguments: &[&str], input: &[u8], words: &[&str]) {
    let output = without_terminal(arguments, input);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{arguments:?}: {word:?} is not in: {said}");
    }
}

#[track_caller]
fn assert_mounted(point: &Point, guest: &str, note: &str) {
    assert_eq!(fs::read_to_string(point.join("etc/hostname")).unwrap(), format!("{guest}\n"));
    assert_eq!(fs::read_to_string(point.join("home/note")).unwrap(), note);
    let numbers: String = (1..=20_000).map(|number| format!("{number}\n")).collect();
    assert!(fs::read_to_string(point.join("root/numbers")).unwrap() == numbers);
}

#[test]
fn a_key_mounts_the_whole_guest() {
    for (guest, note) in GUESTS {
        let point = Point::mount(&["-a", &image(guest), "-i", "--key", "all:key:demo"]);
        assert_mounted(&point, guest, note);
    }
}

/// Neither the process that serves nor one that waits shows a key to whoever lists processes.
#[test]
fn keys_are_not_in_the_list_of_processes() {
    let (guest, note) = GUESTS[1];
    let folder = tempfile::tempdir().unwrap();
    let pid_file = folder.path().join("pid");
    let shown = |pid: &str| {
        let of = |name: &str| fs::read(format!("/proc/{}/{name}", pid.trim_end())).unwrap();
        let text = [of("cmdline"), b" ".to_vec(), of("environ"), b" ".to_vec(), of("comm")].concat();
        String::from_utf8_lossy(&text).replace('\0', " ")
    };
    let image = image(guest);
    let arguments = ["-a", &image, "-i", "--pid-file", pid_file.to_str().unwrap(), "--key", "all:key:demo"];
    let point = Point::mount(&arguments);
    assert_mounted(&point, guest, note);
    let pid = fs::read_to_string(&pid_file).unwrap();
    let seen = shown(&pid);
    assert!(seen.contains("--key all:key:…") && !seen.contains(":demo") && seen.ends_with("imgmount\n"), "{seen}");
    let open: Vec<_> = fs::read_dir(format!("/proc/{}/fd", pid.trim_end())).unwrap().flatten().collect();
    let targets: Vec<_> = open.iter().filter_map(|file| fs::read_link(file.path()).ok()).collect();
    assert!(!targets.iter().any(|path| path.to_string_lossy().contains("memfd")), "{targets:?}");
    drop(point);
    let point = Point::new();
    let mut server = toolbox::command(env!("CARGO_BIN_EXE_imgmount"))
        .args(arguments)
        .args(["--no-fork", point.text()])
        .spawn()
        .unwrap();
    program::eventually("the mount", || point.is_mounted() && pid_file.exists());
    let seen = shown(&server.id().to_string());
    assert!(seen.contains("--key all:key:…") && !seen.contains(":demo"), "{seen}");
    works(&["unmount", point.text()]);
    assert!(server.wait().unwrap().success());
}

#[test]
fn an_ordinary_user_needs_no_more_than_the_key() {
    if !toolbox::is_root() {
        // The test above has shown it.
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // The source tree may lie where only root can look.
    let program = folder.path().join("imgmount");
    toolbox::copy_program(env!("CARGO_BIN_EXE_imgmount"), &program);
    for (guest, note) in GUESTS {
        let disk = folder.path().join("disk.qcow2");
        fs::copy(image(guest), &disk).unwrap();
        let mount = folder.path().join(guest);
        fs::create_dir(&mount).unwrap();
        std::os::unix::fs::chown(&mount, Some(NOBODY), Some(NOBODY)).unwrap();
        let script = "\"$1\" -a \"$2\" -i --key all:key:demo \"$3\" && cat \"$3/etc/hostname\" \"$3/home/note\"; \
                      \"$1\" unmount \"$3\"";
        let mut shell = toolbox::command("sh");
        shell.args(["-c", script, "sh"]).args([&program, &disk, &mount]);
        let output = toolbox::as_nobody(&shell).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{guest}\n{note}"), "{output:?}");
    }
}

#[test]
fn keys_are_chosen_by_device_uuid_and_file() {
    let image = image("luks-on-lvm");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    // As an editor leaves it.
    fs::write(&file, "demo\n").unwrap();
    let by_file = format!("/dev/mapper/demo-root:file:{}", file.display());
    for selectors in [
        ["/dev/demo/root:key:demo", "22222222-0000-4000-8000-0000000000AA:key:demo"],
        [by_file.as_str(), "demo/home:key:demo"],
        ["all:key:wrong", "all:key:demo"],
    ] {
        let point = Point::mount(&["-a", &image, "-i", "--key", selectors[0], "--key", selectors[1]]);
        assert_mounted(&point, GUESTS[0].0, GUESTS[0].1);
    }
    let inside = "/dev/mapper/luks-22222222-0000-4000-8000-0000000000aa";
    let point = Point::mount(&["-a", &image, "-m", inside, "--key", "/dev/demo/home:key:demo"]);
    assert!(point.join("note").is_file());
    let listing = works(&["filesystems", "-a", &image, "--key", "/dev/demo/home:key:demo"]);
    assert!(listing.contains(inside) && listing.contains("locked"), "{listing}");
}

#[test]
fn a_volume_without_its_key_is_named() {
    let point = Point::new();
    let (one, other) = (image("luks-on-lvm"), image("lvm-on-luks"));
    let (one, other) = (one.as_str(), other.as_str());
    let could_not = "could not find key to open LUKS encrypted";
    refused(&["-a", other, "-m", "/dev/sda1", point.text()], b"", &[could_not, "/dev/sda1", "--key"]);
    refused(&["-a", other, "-i", point.text()], b"", &["no operating system", could_not, "/dev/sda1"]);
    let wrong = ["-a", one, "-i", "--key", "all:key:hunter2", point.text()];
    refused(&wrong, b"", &[could_not, "/dev/demo/root", "none of those given"]);
    let said = without_terminal(&[&["-x"], &wrong[..]].concat(), b"").stderr;
    assert!(!String::from_utf8_lossy(&said).contains("hunter2"), "not even with -x");
    refused(&["-a", one, "-m", "/dev/vg/root", point.text()], b"", &["no such device", "crypto_LUKS"]);
    refused(
        &["-a", other, "-m", "/dev/sda1", "--key", "all:key:demo", point.text()],
        b"",
        &["/dev/mapper/luks-33333333"],
    );
    refused(&["-a", one, "-i", "--key", "all:hunter2", point.text()], b"", &["--key number 1", "ID:key:STRING"]);
    refused(&["-a", one, "-i", "--key", "all:file:/no/such", point.text()], b"", &["/no/such"]);
    assert!(!point.is_mounted());
}

#[test]
fn keys_come_from_standard_input_and_go_nowhere_else() {
    for (guest, note) in GUESTS {
        let image = image(guest);
        let point = Point::new();
        let pid = tempfile::NamedTempFile::new().unwrap();
        let pid_file = pid.path().to_str().unwrap();
        let arguments = ["-a", &image, "-i", "--keys-from-stdin", "--pid-file", pid_file, point.text()];
        let output = without_terminal(&arguments, b"demo\n");
        assert!(output.status.success(), "{output:?}");
        assert_mounted(&point, guest, note);
        let process = Path::new("/proc").join(fs::read_to_string(pid_file).unwrap().trim());
        for seen in ["cmdline", "environ"] {
            let bytes = fs::read(process.join(seen)).unwrap();
            assert!(!bytes.windows(5).any(|window| window == b"demo\n" || window == b"demo\0"), "{seen}");
        }
        works(&["unmount", point.text()]);
        let mut two = vec!["-a", &image, "-i", "--keys-from-stdin"];
        two.push(point.text());
        refused(&two, b"wrong\n", &["could not find key"]);
        refused(&two, b"", &["could not find key"]);
    }
}

/// Runs the program at a terminal of its own, on which this is typed; returns what was seen there.
fn at_terminal(arguments: &str, typed: &str) -> (String, bool) {
    let command = format!("exec timeout --foreground 60 {} {arguments}", env!("CARGO_BIN_EXE_imgmount"));
    let mut child = toolbox::command("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    // After the question: what is typed before it is thrown away, and shown.
    for line in typed.split_inclusive('\n') {
        std::thread::sleep(std::time::Duration::from_secs(3));
        input.write_all(line.as_bytes()).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    drop(input);
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success())
}

#[test]
fn the_terminal_is_asked_and_does_not_show_the_answer() {
    let (guest, note) = GUESTS[1];
    let image = image(guest);
    let point = Point::new();
    let (seen, worked) = at_terminal(&format!("-a {image} -i {}", point.text()), "wrong\ndemo\n");
    assert!(worked, "{seen}");
    assert_mounted(&point, guest, note);
    assert_eq!(seen.matches("Enter key or passphrase (\"/dev/sda1\")").count(), 2, "{seen}");
    assert!(seen.contains("that does not open /dev/sda1"), "{seen}");
    assert!(!seen.contains("demo\r") && !seen.contains("wrong\r"), "{seen}");
    works(&["unmount", point.text()]);
    let (seen, worked) = at_terminal(&format!("-a {image} -m /dev/vg/home --echo-keys {}", point.text()), "demo\n");
    assert!(worked && point.join("note").is_file(), "{seen}");
    assert!(seen.contains("demo"), "--echo-keys: {seen}");
    works(&["unmount", point.text()]);
    // Nothing is asked for a device that needs no key, nor by the listing.
    let (seen, worked) = at_terminal(&format!("filesystems -a {image}"), "");
    assert!(worked && !seen.contains("Enter key"), "{seen}");
}

/// A BitLocker volume with this key, and its listing.
fn bitlocker(name: &str, keys: &[&str]) -> (String, String) {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bitlocker/bitlk-{name}.img"));
    assert!(path.exists(), "{} is not there: `cargo xtask setup test` fetches it", path.display());
    let image = path.display().to_string();
    let mut arguments = vec!["filesystems", "-a", &image];
    keys.iter().for_each(|key| arguments.extend(["--key", key]));
    let listing = works(&arguments);
    (image, listing)
}

#[test]
fn bitlocker_opens_with_its_keys() {
    let inside = "/dev/mapper/cryptsda";
    let (image, listing) = bitlocker("togo-aes-cbc-128", &["sda:key:anaconda"]);
    assert!(listing.contains(inside) && listing.contains("vfat") && listing.contains("168C-33E6"), "{listing}");
    let point = Point::mount(&["-a", &image, "-m", inside, "--key", "all:key:anaconda"]);
    assert!(fs::read_dir(point.path()).unwrap().next().is_some());
    let recovery = "/dev/sda:key:607552-529496-550902-707531-545787-248358-370216-060401";
    assert!(bitlocker("togo-aes-cbc-128", &[recovery]).1.contains(inside));
    let (image, listing) = bitlocker("aes-xts-128-startup-key", &[]);
    assert!(listing.contains("BitLocker") && !listing.contains(inside), "{listing}");
    let file = Path::new(&image).with_file_name("4381F759-C4F8-4DE0-BB61-FC33A831BDA5.BEK");
    let (_, listing) = bitlocker("aes-xts-128-startup-key", &[&format!("all:file:{}", file.display())]);
    assert!(listing.contains(inside) && listing.contains("27F7B5DB3754A2A9"), "{listing}");
    let point = Point::new();
    let could_not = "could not find key to open BitLocker encrypted /dev/sda";
    refused(&["-a", &image, "-m", "/dev/sda", point.text()], b"", &[could_not, "--key /dev/sda:key:STRING"]);
    let wrong = ["-a", &image, "-m", "/dev/sda", "--key", "all:key:hunter2", point.text()];
    refused(&wrong, b"", &[could_not, "none of those given"]);
}

/// The demo guest in a qcow2 that is encrypted with LUKS, on an encrypted base, with a snapshot `before`.
fn encrypted_guest(folder: &Path) -> String {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/demo/guest.qcow2");
    let path = |name: &str| folder.join(name).display().to_string();
    let qemu_img = |arguments: &[&str]| {
        let objects = ["--object", "secret,id=one,data=base key", "--object", "secret,id=two,data=top key"];
        let all = [&arguments[..1], &objects, &arguments[1..]].concat();
        toolbox::run(toolbox::command("qemu-img").args(&all));
    };
    let options = |key: &str| format!("encrypt.format=luks,encrypt.iter-time=1,encrypt.key-secret={key}");
    let (base, top) = (path("base.qcow2"), path("top.qcow2"));
    qemu_img(&["convert", "-O", "qcow2", "-o", &options("one"), demo.to_str().unwrap(), &base]);
    qemu_img(&["create", "-f", "qcow2", "-u", "-b", "base.qcow2", "-F", "qcow2", "-o", &options("two"), &top, "1G"]);
    let open = format!("driver=qcow2,file.filename={top},encrypt.key-secret=two,backing.encrypt.key-secret=one");
    qemu_img(&["snapshot", "-c", "before", "--image-opts", &open]);
    top
}

#[test]
fn an_encrypted_image_opens_with_the_keys_of_its_chain() {
    let folder = tempfile::tempdir().unwrap();
    let top = encrypted_guest(folder.path());
    let assert_demo =
        |point: &Point| assert_eq!(fs::read_to_string(point.join("etc/hostname")).unwrap(), "demo-guest\n");
    for keys in [["all:key:base key", "all:key:top key"], ["/dev/sda:key:top key", "base.qcow2:key:base key"]] {
        let point = Point::mount(&["-a", &top, "-i", "--key", keys[0], "--key", keys[1]]);
        assert_demo(&point);
    }
    let point = Point::new();
    let could_not = "could not find key to open LUKS encrypted /dev/sda";
    let other = ["-a", &top, "-i", "--key", "other.qcow2:key:top key", point.text()];
    refused(&other, b"", &[could_not, "top.qcow2: give one with --key /dev/sda:key:STRING"]);
    let half = ["-a", &top, "-i", "--key", "all:key:top key", point.text()];
    refused(&half, b"", &[could_not, "base.qcow2: none of those given opens it"]);
    let output = without_terminal(
        &["-a", &top, "-m", "/dev/demo/root", "--keys-from-stdin", point.text()],
        b"top key\nbase key\n",
    );
    assert!(output.status.success(), "{output:?}");
    assert_demo(&point);
    works(&["unmount", point.text()]);
    // Asked for once, though the devices are looked for twice.
    let (seen, worked) = at_terminal(&format!("-a {top} -m /dev/demo/root {}", point.text()), "top key\nbase key\n");
    assert!(worked, "{seen}");
    assert_demo(&point);
    assert_eq!(seen.matches("Enter key or passphrase").count(), 2, "{seen}");
    works(&["unmount", point.text()]);
    // What is said of the image needs no key; its snapshots are read with the keys that were given.
    assert!(works(&["info", &top]).contains("luks"));
    let point = Point::mount(&["-a", &top, "--blocks", "--key", "all:key:top key", "--key", "all:key:base key"]);
    let (mut now, mut before) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    std::os::unix::fs::FileExt::read_exact_at(&fs::File::open(point.join("sda")).unwrap(), &mut now, 0).unwrap();
    let snapshot = fs::File::open(point.join("sda@before")).unwrap();
    std::os::unix::fs::FileExt::read_exact_at(&snapshot, &mut before, 0).unwrap();
    assert!(now == before && now.iter().any(|byte| *byte != 0));
}
