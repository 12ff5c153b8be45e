//! The demo: the small guest of this repository, mounted and read by the user who asks.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::command::{command, line, pass_through, read};
use crate::mount::is_mounted;
use crate::{packages, workspace};

/// The guest, from the repository's root.
pub const GUEST: &str = "tests/golden/demo/guest.qcow2";

/// The SHA-256 of the files that were deleted from it, and one of them.
const DELETED: &str = "tests/golden/demo/deleted.txt";
const LETTER: &str = "root/letters/2.txt";

/// Lines of long output that are shown.
const SHOWN: usize = 20;

pub fn run() -> Result<()> {
    packages::ensure(packages::Purpose::Demo)?;
    println!("Building imgmount (the first time takes a minute or two)\n");
    let program = workspace::release()?;
    let directory = TempDir::with_prefix("imgmount-demo-")?;
    let mount = Mount { point: directory.path().join("guest") };
    std::fs::create_dir(&mount.point)?;
    let imgmount = |arguments: &[&str]| {
        let mut command = command(&program, arguments);
        command.current_dir(workspace::root());
        command
    };

    println!("What is on the disk, and what is on its volumes:\n");
    show(&mut imgmount(&["filesystems", "-a", GUEST]))?;
    println!("Find the operating system, and mount its file systems where its fstab wants them:\n");
    show(imgmount(&["-a", GUEST, "-i"]).arg(&mount.point))?;
    ensure!(is_mounted(&mount.point), "imgmount returned without an error, and nothing is mounted");
    println!("\nThe guest's own tree, with its owners, links and times:\n");
    show(command("ls", ["-l"]).arg(&mount.point))?;
    show(command("cat", [""; 0]).arg(mount.point.join("etc/os-release")))?;
    show(command("ls", ["-l"]).arg(mount.point.join("home/anna")))?;
    let hostname = std::fs::read_to_string(mount.point.join("etc/hostname")).context("cannot read etc/hostname")?;
    show(imgmount(&["unmount"]).arg(&mount.point))?;
    ensure!(!is_mounted(&mount.point), "imgmount unmount returned without an error, and the guest is still mounted");
    println!("What was deleted from it, and how much of that is left:\n");
    show(&mut imgmount(&["deleted", "-a", GUEST, "-m", "/dev/demo/root"]))?;
    let out = directory.path().join("recovered");
    println!("One of these files comes back:\n");
    show(imgmount(&["recover", "-a", GUEST, "/root/letters/2.txt", "--to"]).arg(&out))?;
    let letter = out.join("demo/root").join(LETTER);
    show(command("tail", ["-n", "2"]).arg(&letter))?;
    let told = read(command("sha256sum", [""; 0]).arg(&letter))?;
    let known = std::fs::read_to_string(workspace::root().join(DELETED))?;
    let known = known.lines().find(|line| line.ends_with(LETTER)).and_then(|line| line.split(' ').next());
    let hash = known.with_context(|| format!("{DELETED} does not name {LETTER}"))?;
    ensure!(told.starts_with(hash), "the file that came back is not the one that was deleted");
    println!("Its SHA-256 is that of the file before it was deleted: {hash}");
    let user = rustix::process::geteuid().as_raw();
    println!(
        "\nIt works: user {user} opened the disk of {}, read its files, brought a deleted one back and closed \
         it again.",
        hostname.trim()
    );
    if user != 0 {
        println!("No root, no loop device, no virtual machine.");
    }
    Ok(())
}

/// Prints a command, runs it and prints the first lines of what it says.
fn show(command: &mut Command) -> Result<()> {
    let program = PathBuf::from(command.get_program());
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    println!("$ {}", line(command).replacen(&*program.to_string_lossy(), &name, 1));
    let output = crate::command::any_output(command)?;
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    for text in text.lines().take(SHOWN) {
        println!("{text}");
    }
    if let more @ 1.. = text.lines().count().saturating_sub(SHOWN) {
        println!("... and {more} lines more");
    }
    if !text.is_empty() {
        println!();
    }
    ensure!(output.status.success(), "{name} failed: {}", output.status);
    Ok(())
}

/// Unmounts when the demo fails on its way.
struct Mount {
    point: PathBuf,
}

impl Drop for Mount {
    fn drop(&mut self) {
        if is_mounted(&self.point) {
            let _ = pass_through(&mut unmount(&self.point));
        }
    }
}

fn unmount(point: &Path) -> Command {
    let mut command = command("fusermount3", ["-u", "-z"]);
    command.arg(point);
    command
}
