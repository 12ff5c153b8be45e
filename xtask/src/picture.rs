//! The picture in README.md: a terminal session with the small guest of this repository, as SVG.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::command::{any_output, command};
use crate::mount::is_mounted;
use crate::{demo, packages, workspace};

/// Where the picture is, from the repository's root.
const PICTURE: &str = "docs/session.svg";

/// What is typed, and what a reader learns from it.
const SESSION: &[(&str, &str)] = &[
    ("what is in this image?", "imgmount vm.qcow2"),
    ("mount it, as an ordinary user", "imgmount vm.qcow2 mnt"),
    ("the guest's own files", "ls -C -w 90 mnt"),
    ("", "head -n 2 mnt/etc/os-release"),
    ("", "imgmount unmount mnt"),
    ("bring back what was deleted", "imgmount recover -a vm.qcow2 /root/letters/2.txt --to out"),
    ("", "tail -n 2 out/demo/root/root/letters/2.txt"),
];

/// The size of the letters and the room that they take, in the picture's own units.
const FONT: usize = 13;
const ADVANCE: f64 = 7.8;
const LINE: usize = 18;
const MARGIN: usize = 16;

/// Runs the session and draws it.
pub fn make() -> Result<()> {
    packages::ensure(packages::Purpose::Demo)?;
    let path = workspace::root().join(PICTURE);
    fs::write(&path, draw(&session(&workspace::release()?)?)).with_context(|| path.display().to_string())
}

/// Fails unless the picture shows what this program prints today.
pub fn check(program: &Path) -> Result<()> {
    let drawn = draw(&session(program)?);
    let same = fs::read_to_string(workspace::root().join(PICTURE)).is_ok_and(|old| old == drawn);
    ensure!(same, "{PICTURE} does not show what the program prints: `cargo xtask picture` draws it anew");
    Ok(())
}

/// A line of the session, and what it is.
enum Line {
    Comment(String),
    Typed(String),
    Printed(String),
}

fn session(program: &Path) -> Result<Vec<Line>> {
    let directory = TempDir::with_prefix("imgmount-picture-")?;
    let images = workspace::root().join(demo::GUEST);
    let folder = images.parent().context("the guest lies in a folder")?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        symlink(entry.path(), directory.path().join(entry.file_name()))?;
    }
    fs::rename(directory.path().join("guest.qcow2"), directory.path().join("vm.qcow2"))?;
    fs::create_dir(directory.path().join("mnt"))?;
    let result = lines(program, directory.path());
    if is_mounted(&directory.path().join("mnt")) {
        let _ = any_output(command("fusermount3", ["-u", "-z"]).arg(directory.path().join("mnt")));
    }
    result
}

fn lines(program: &Path, directory: &Path) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (comment, typed) in SESSION {
        if !comment.is_empty() {
            if !lines.is_empty() {
                lines.push(Line::Printed(String::new()));
            }
            lines.push(Line::Comment(format!("# {comment}")));
        }
        lines.push(Line::Typed(format!("$ {typed}")));
        let mut words = typed.split(' ');
        let name = words.next().unwrap_or_default();
        let program = if name == "imgmount" { program } else { Path::new(name) };
        let output = any_output(command(program, words).current_dir(directory).env("COLUMNS", "100"))?;
        let printed = [output.stdout, output.stderr].concat();
        ensure!(output.status.success(), "{typed}: {}", String::from_utf8_lossy(&printed));
        lines.extend(String::from_utf8_lossy(&printed).lines().map(|line| Line::Printed(line.trim_end().to_owned())));
    }
    Ok(lines)
}

fn draw(lines: &[Line]) -> String {
    let text = |line: &Line| match line {
        Line::Comment(text) | Line::Typed(text) | Line::Printed(text) => text.clone(),
    };
    let columns = lines.iter().map(|line| text(line).chars().count()).max().unwrap_or(0);
    let width = (columns as f64 * ADVANCE) as usize + 2 * MARGIN;
    let height = lines.len() * LINE + 2 * MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" role=\"img\" \
         aria-label=\"imgmount at a terminal\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#1c2128\"/>\n\
         <g font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"{FONT}\" \
         xml:space=\"preserve\">\n"
    );
    for (row, line) in lines.iter().enumerate() {
        let color = match line {
            Line::Comment(_) => "#7d8590",
            Line::Typed(_) => "#7ee787",
            Line::Printed(_) => "#d6dde4",
        };
        let y = MARGIN + (row + 1) * LINE - 5;
        let escaped = text(line).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let _ = writeln!(svg, "<text x=\"{MARGIN}\" y=\"{y}\" fill=\"{color}\">{escaped}</text>");
    }
    svg + "</g>\n</svg>\n"
}
