//! The big guest: a debootstrapped Debian on LVM, as raw and as every kind of qcow2; made once and kept.

mod disk;
mod mirror;
mod recipe;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::command::{command, run};
use crate::mount::{KernelMount, Range};

pub use recipe::{BIG_FILE, BIG_SIZE};

/// The sources that decide what the guest is: when one changes, it is made again.
const RECIPE: [&str; 3] = [include_str!("disk.rs"), include_str!("recipe.rs"), include_str!("../specimen.rs")];

/// A form of the guest's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Its name and the stem of its file.
    pub name: &'static str,
    /// What `qemu-img convert` is told, if it makes it.
    options: &'static [&'static str],
    /// Whether it is in the short tier of the tests.
    pub short: bool,
}

/// The plain image.
pub const RAW: Variant = Variant { name: "raw", options: &[], short: true };
/// The image as `qemu-img convert -O qcow2` makes it.
pub const QCOW2: Variant = Variant { name: "qcow2", options: &["-o", "cluster_size=64k"], short: false };
/// Three images on top of each other.
const CHAIN: Variant = Variant { name: "chain", options: &[], short: true };

/// Every form.
pub const VARIANTS: &[Variant] = &[
    RAW,
    QCOW2,
    Variant { name: "zlib", options: &["-c"], short: true },
    Variant { name: "zstd", options: &["-c", "-o", "compression_type=zstd"], short: false },
    Variant { name: "extended-l2", options: &["-o", "extended_l2=on,cluster_size=128k"], short: true },
    Variant { name: "cluster-512", options: &["-o", "cluster_size=512"], short: false },
    Variant { name: "cluster-2m", options: &["-o", "cluster_size=2M"], short: false },
    Variant { name: "data-file", options: &["-o", "data_file=data-file.data"], short: false },
    Variant { name: "v2", options: &["-o", "compat=0.10"], short: false },
    CHAIN,
];

/// The guest on this machine.
pub struct Guest {
    directory: PathBuf,
    facts: Facts,
}

/// What is known of a finished guest.
#[derive(Serialize, Deserialize)]
struct Facts {
    /// The SHA-256 of the recipe.
    recipe: String,
    /// Where the root volume lies in the raw image, in bytes.
    root: Range,
}

impl Guest {
    /// The guest below `target`, made if it is not there or its recipe has changed. Needs root.
    pub fn get(target: &Path) -> Result<Self> {
        let directory = target.join("guests");
        let recipe: String = Sha256::digest(RECIPE.concat()).iter().map(|byte| format!("{byte:02x}")).collect();
        let kept = fs::read(directory.join("facts.json")).ok();
        let kept = kept.and_then(|text| serde_json::from_slice::<Facts>(&text).ok());
        if let Some(facts) = kept.filter(|facts| facts.recipe == recipe) {
            return Ok(Self { directory, facts });
        }
        if !crate::mount::is_root() {
            bail!("making the guest needs root (debootstrap, loop mounts): run `sudo cargo xtask guest` once");
        }
        println!("making the guest in {} (kept for the next time)", directory.display());
        if directory.exists() {
            fs::remove_dir_all(&directory).with_context(|| format!("cannot remove {}", directory.display()))?;
        }
        fs::create_dir_all(&directory)?;
        let root = recipe::make(&directory.join("raw.img"), &directory)?;
        let facts = Facts { recipe, root };
        fs::write(directory.join("facts.json"), serde_json::to_vec(&facts)?)?;
        Ok(Self { directory, facts })
    }

    /// Where the images are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The name of a variant's image in `directory`, made if it is not there.
    pub fn image(&self, variant: Variant) -> Result<String> {
        let name = match variant.name {
            "raw" => "raw.img".to_owned(),
            name => format!("{name}.qcow2"),
        };
        let path = self.directory.join(&name);
        if !path.exists() {
            println!("making {name}");
            let unfinished = "unfinished.qcow2";
            let mut convert = command("qemu-img", ["convert", "-O", "qcow2"]);
            convert.args(variant.options).args(["raw.img", unfinished]).current_dir(&self.directory);
            run(&mut convert)?;
            fs::rename(self.directory.join(unfinished), path)?;
        }
        Ok(name)
    }

    /// The kernel's own mount of the root volume: what a walk is compared with.
    pub fn kernel_mount(&self) -> Result<KernelMount> {
        KernelMount::new(&self.directory.join("raw.img"), Some(self.facts.root), "ro,noload")
    }
}
