//! What an image says reaches a terminal, a pipe or a log without anything that a terminal obeys; JSON says it exactly.

// The functions that the tests share are tests too, which clippy cannot see.
#![allow(clippy::unwrap_used)]

mod program;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use imgmount::terminal::is_harmful;
use program::{Point, imgmount, qemu_img, tool};
use serde_json::Value;
use tempfile::TempDir;

/// Sets the title, clears the screen by a C1 control, turns the direction of writing, hides, deletes, breaks the line.
const HOSTILE: &str = "\u{1b}]0;x\u{7}\u{9b}2J\u{202e}\u{200b}\u{2028}\u{7f}";
/// As long as a label of ext4 can be.
const LABEL: &str = "\u{1b}[2J\u{9b}\u{202e}\u{7f}";

/// A guest whose every name and text is hostile, on the second partition of a qcow2 image with a snapshot.
struct Guest(TempDir);

impl Guest {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (tree, disk) = (folder.path().join("tree"), folder.path().join("disk.img"));
        for directory in ["etc", "bin", &format!("d{HOSTILE}"), &format!("d{HOSTILE}/n\ne")] {
            fs::create_dir_all(tree.join(directory)).unwrap();
        }
        let write = |path: &str, text: String| fs::write(tree.join(path), text).unwrap();
        write("etc/hosts", String::new());
        write("etc/hostname", format!("host{HOSTILE}\n"));
        write(
            "etc/os-release",
            format!("ID=a{HOSTILE}\nPRETTY_NAME=\"P{HOSTILE}\\n\"\nBUILD_ID={HOSTILE}\nVARIANT_ID={HOSTILE}\n"),
        );
        let fstab = ["UUID=u", "LABEL=", "/dev/mapper/", "PARTLABEL=", "/dev/disk/by-id/x"];
        let fstab: Vec<_> = fstab.iter().map(|spec| format!("{spec}{HOSTILE} /m{HOSTILE} ext4 d")).collect();
        write(
            "etc/fstab",
            fstab.join("\n") + &format!("\n/dev/sda1 /d{HOSTILE} ext4\n/dev/sda2 /no\\012{HOSTILE} x\nbad{HOSTILE}\n"),
        );
        write("etc/crypttab", format!("{HOSTILE} UUID=12\u{1b}[2J none\n"));
        write(&format!("gone{HOSTILE}"), "gone".repeat(5000));
        write(&format!("file\n{HOSTILE}"), "there".to_owned());
        let part = folder.path().join("part.img");
        let [tree, disk, part] = [&tree, &disk, &part].map(|path| path.to_str().unwrap());
        tool(&["mkfs.ext4", "-q", "-L", LABEL, "-d", tree, part, "8M"]);
        tool(&["debugfs", "-w", "-R", &format!("rm /gone{HOSTILE}"), part]);
        fs::File::create(disk).unwrap().set_len(12 << 20).unwrap();
        let name = format!("2:p{HOSTILE}");
        tool(&["sgdisk", "-n", "2:2048:18431", "-c", &name, disk]);
        tool(&["dd", &format!("if={part}"), &format!("of={disk}"), "bs=1M", "seek=1", "conv=notrunc"]);
        let image = folder.path().join("guest.qcow2");
        let image = image.to_str().unwrap();
        qemu_img(&["convert", "-f", "raw", "-O", "qcow2", disk, image]);
        qemu_img(&["snapshot", "-c", &format!("s{HOSTILE}"), image]);
        Self(folder)
    }

    fn image(&self) -> PathBuf {
        self.0.path().join("guest.qcow2")
    }
}

/// Every command that prints something of an image.
const COMMANDS: &[&[&str]] = &[
    &["filesystems", "-a", "IMAGE", "-v"],
    &["filesystems", "-a", "IMAGE", "--json"],
    &["inspect", "-a", "IMAGE", "-vv"],
    &["inspect", "-a", "IMAGE", "--json"],
    &["info", "IMAGE"],
    &["info", "IMAGE", "--json"],
    &["deleted", "-a", "IMAGE"],
    &["deleted", "-a", "IMAGE", "--json"],
    &["timeline", "-a", "IMAGE", "--json"],
    &["timeline", "-a", "IMAGE", "-i"],
    &["history", "-a", "IMAGE", "/etc/hosts", "--json"],
    &["recover", "-a", "IMAGE", "--to", "OUT", "--partial"],
    &["IMAGE"],
    &["IMAGE", "IMAGE"],
    &["-a", "IMAGE", "-m", "/dev/sda9", "OUT"],
    &["-a", "IMAGE", "-i", "--root", "/dev/sda9", "OUT"],
    &["-a", "IMAGE", "--no-such-\u{1b}[2J\u{9b}", "OUT"],
];

fn words(command: &[&str], image: &Path, out: &Path) -> Vec<String> {
    let word = |word: &&str| match *word {
        "IMAGE" => image.display().to_string(),
        "OUT" => out.display().to_string(),
        other => other.to_owned(),
    };
    command.iter().map(word).collect()
}

/// All characters that do harm, but the ends of lines.
fn harm(bytes: &[u8]) -> Vec<char> {
    String::from_utf8_lossy(bytes).chars().filter(|c| is_harmful(*c) && *c != '\n').collect()
}

#[test]
fn pipes_get_no_character_that_does_harm() {
    let guest = Guest::new();
    for (number, command) in COMMANDS.iter().enumerate() {
        let words = words(command, &guest.image(), &guest.0.path().join(format!("out{number}")));
        let output = imgmount().args(&words).output().unwrap();
        assert_eq!(harm(&output.stderr), [], "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        // The body file is for programs, and exact.
        let is_body = command.contains(&"timeline") && !command.contains(&"--json");
        assert!(is_body || harm(&output.stdout).is_empty(), "{command:?}: {}", String::from_utf8_lossy(&output.stdout));
        assert!(!output.stdout.is_empty() || !output.stderr.is_empty(), "{command:?}");
    }
}

#[test]
fn a_terminal_gets_none_either() {
    let guest = Guest::new();
    for (number, command) in COMMANDS.iter().enumerate() {
        let words = words(command, &guest.image(), &guest.0.path().join(format!("out{number}")));
        let quoted: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
        let command = format!("exec timeout --foreground 60 {} {}", env!("CARGO_BIN_EXE_imgmount"), quoted.join(" "));
        let output = toolbox::command("script")
            .args(["--quiet", "--return", "--command", &command, "/dev/null"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let seen = String::from_utf8_lossy(&output.stdout);
        assert!(!seen.trim().is_empty(), "{command:?}");
        // A bar is drawn with controls of our own.
        for harm in ["\u{1b}]0", "\u{1b}[2J", "\u{9b}", "\u{202e}", "\u{200b}", "\u{2028}", "\u{7f}", "\u{7}"] {
            assert!(!seen.contains(harm), "{command}: {harm:?} in {seen:?}");
        }
    }
}

#[test]
fn json_is_exact() {
    let guest = Guest::new();
    let json = |command: &[&str]| -> Value {
        let words = words(command, &guest.image(), Path::new(""));
        serde_json::from_slice(&imgmount().args(words).output().unwrap().stdout).unwrap()
    };
    let listing = json(&["filesystems", "-a", "IMAGE", "--json"]);
    let partition = &listing["devices"][1];
    assert_eq!(partition["label"], LABEL);
    assert_eq!(partition["partition"]["label"], format!("p{HOSTILE}"));
    assert_eq!(json(&["info", "IMAGE", "--json"])[0]["snapshots"][0]["name"], format!("s{HOSTILE}"));
    let guest = json(&["inspect", "-a", "IMAGE", "--json"]);
    let system = &guest["operating_systems"][0];
    assert_eq!(system["hostname"], format!("host{HOSTILE}").lines().next().unwrap());
    assert_eq!(system["distro"], format!("a{HOSTILE}").lines().next().unwrap());
}

#[test]
fn who_uses_a_mount_is_named_without_harm() {
    let guest = Guest::new();
    let point = Point::mount(&["-a", guest.image().to_str().unwrap(), "-m", "/dev/sda2"]);
    let mut user =
        toolbox::command("sleep").arg("60").current_dir(point.join(&format!("d{HOSTILE}/n\ne"))).spawn().unwrap();
    let output = imgmount().args(["unmount", "--no-retry", point.text()]).output().unwrap();
    user.kill().unwrap();
    user.wait().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("stands in") && said.contains("\\u{1b}]0;x\\u{7}") && said.contains("n\\ne"), "{said}");
    assert_eq!(harm(&output.stderr), [], "{said}");
    assert_eq!(said.lines().count(), 2, "{said}");
}
