//! A form of the guest's disk: how it is made, and what is compared.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crate::program::sparse::{assert_same, runs};
use crate::program::{Point, guest, qemu_img};
use crate::tree::Tree;

/// A way to store the guest's disk.
pub struct Form {
    /// The file that is opened.
    pub image: String,
    /// The shell commands that make it from `source`, in its folder.
    pub make: String,
    /// The name by which `qemu-img` reads it; what it does not read is compared with `source` itself.
    pub format: Option<&'static str>,
    /// What unlocks it.
    pub secret: Option<&'static str>,
}

/// The form that `qemu-img convert` writes.
pub fn qemu(format: &'static str, options: &str) -> Form {
    let image = format!("guest.{format}");
    let make = format!("qemu-img convert -f raw -O {format} {options} source {image}");
    Form { format: Some(format), ..made(&image, &make) }
}

/// The form that these commands make.
pub fn made(image: &str, make: &str) -> Form {
    Form { image: image.to_owned(), make: make.to_owned(), format: None, secret: None }
}

/// The guest as a raw disk, and its tree there.
struct Original {
    _folder: tempfile::TempDir,
    raw: PathBuf,
    tree: Tree,
}

static ORIGINAL: LazyLock<Original> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("raw");
    qemu_img(&["convert", "-O", "raw", &guest(), raw.to_str().unwrap()]);
    let point = Point::mount(&["-a", raw.to_str().unwrap(), "-i"]);
    let tree = Tree::of(point.path());
    assert!(tree.0.len() > 300, "{} paths: this is not the guest", tree.0.len());
    Original { _folder: folder, raw, tree }
});

/// Makes each form, and looks at it in both ways.
pub fn each(forms: &[Form]) {
    for form in forms {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(&ORIGINAL.raw, folder.path().join("source")).unwrap();
        tool_in(folder.path(), &["sh", "-ec", &form.make]);
        form.check(folder.path());
    }
}

impl Form {
    fn check(&self, folder: &Path) {
        let image = folder.join(&self.image).to_str().unwrap().to_owned();
        let key = self.secret.map(|secret| format!("--key=all:key:{secret}"));
        let arguments: Vec<&str> = ["-a", &image].into_iter().chain(key.as_deref()).collect();

        let point = Point::mount(&[&arguments[..], &["-i"]].concat());
        Tree::of(point.path()).assert_equals(&ORIGINAL.tree, &self.make);
        drop(point);

        let raw = match self.format {
            Some(format) => {
                let raw = folder.join("reference");
                // There, because QEMU takes the name of a data file from where it runs.
                tool_in(folder, &["qemu-img", "convert", "-f", format, "-O", "raw", &self.image, "reference"]);
                raw
            }
            None => ORIGINAL.raw.clone(),
        };
        let point = Point::mount(&[&arguments[..], &["--blocks"]].concat());
        // A container shows what is inside it beside itself.
        let disk = match fs::read_dir(point.join("mapper")) {
            Ok(mut inside) => inside.next().unwrap().unwrap().path(),
            Err(_) => point.join("sda"),
        };
        assert_same(&disk, &raw);
        let ours = runs(&disk);
        let data: u64 = ours.iter().map(|(start, end)| end - start).sum();
        assert_eq!(fs::metadata(&disk).unwrap().blocks() * 512, data, "{}: st_blocks is what is no hole", self.make);
        if let Some(format) = self.format {
            // Where QEMU knows of a hole there is one; we may know of more, of which `assert_same` has seen the zeros.
            for (start, end) in mapped_holes(folder, format, &self.image) {
                let inside = ours.iter().find(|(from, to)| *from < end && *to > start);
                assert!(inside.is_none(), "{}: data at {inside:?}, a hole at {start}..{end} by qemu-img", self.make);
            }
        }
    }
}

/// What `qemu-img map` says is neither data nor anything else to be read.
fn mapped_holes(folder: &Path, format: &str, image: &str) -> Vec<(u64, u64)> {
    let map = tool_in(folder, &["qemu-img", "map", "-f", format, "--output=json", image]);
    let map: serde_json::Value = serde_json::from_str(&map).unwrap();
    let number = |run: &serde_json::Value, name: &str| run[name].as_u64().unwrap();
    let holes = map.as_array().unwrap().iter().filter(|run| run["data"] == false && run["zero"] == true);
    holes.map(|run| (number(run, "start"), number(run, "start") + number(run, "length"))).collect()
}

/// Runs a command in this folder, which must work; its standard output.
#[track_caller]
fn tool_in(folder: &Path, words: &[&str]) -> String {
    toolbox::run(toolbox::command(words[0]).args(&words[1..]).current_dir(folder))
}
