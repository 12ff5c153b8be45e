//! Every image format: reads in order beside raw or `qemu-img`, opening, and the cipher of encrypted volumes.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command::{command, pass_through, read, run};
use crate::mount::{GuestMount, User};
use crate::specimen::{self, Noise};
use crate::workspace;

use super::figures::{Figure, Goal, Section, median};
use super::timed;

const CONDITIONS: &str = "\
Disks of 128 MiB in the host's page cache, read whole through the file that `imgmount --blocks` shows; every run has a mount of
its own. What is not compressed holds noise and is read in turns with raw; what is compressed holds text and a quarter of noise
and is read in turns with what unpacks it into memory (/dev/shm). Opening is `imgmount filesystems` of an empty disk of 2 TiB, from
the start of the process to its end. The cipher runs on one core for both sides.";

const MIB: u64 = 1 << 20;
const SIZE: u64 = 128 * MIB;

/// A form of the disk, made from `$1` as `$2`.
struct Form {
    name: &'static str,
    make: &'static str,
    /// What unpacks `$1` into `$2`, for comparison.
    unpack: &'static str,
}

const fn form(name: &'static str, make: &'static str) -> Form {
    Form { name, make, unpack: "qemu-img convert -O raw \"$1\" \"$2\"" }
}

/// Neither compressed nor encrypted.
const PLAIN: &[Form] = &[
    form("qcow2", "qemu-img convert -O qcow2 $1 $2"),
    form("qcow2, clusters of 4 KiB", "qemu-img convert -O qcow2 -o cluster_size=4k $1 $2"),
    form("qcow2, subclusters", "qemu-img convert -O qcow2 -o extended_l2=on,cluster_size=128k $1 $2"),
    form(
        "qcow2, two of a chain",
        "qemu-img convert -O qcow2 $1 $2.low; qemu-img create -q -f qcow2 -b $2.low -F qcow2 $2",
    ),
    form("vmdk", "qemu-img convert -O vmdk $1 $2"),
    form("vmdk, flat", "qemu-img convert -O vmdk -o subformat=monolithicFlat $1 $2"),
    form("vdi", "qemu-img convert -O vdi $1 $2"),
    form("vhd", "qemu-img convert -O vpc $1 $2"),
    form("vhdx", "qemu-img convert -O vhdx $1 $2"),
    form("qed", "qemu-img convert -O qed $1 $2"),
    form("qcow", "qemu-img convert -O qcow $1 $2"),
    form("parallels", "qemu-img convert -O parallels $1 $2"),
    form("split", "split -b 50M -a 3 --numeric-suffixes=1 $1 ${2%001}"),
];

const COMPRESSED: &[Form] = &[
    form("qcow2, zlib", "qemu-img convert -c -O qcow2 $1 $2"),
    form("qcow2, zstd", "qemu-img convert -c -O qcow2 -o compression_type=zstd $1 $2"),
    form("vmdk, streamOptimized", "qemu-img convert -O vmdk -o subformat=streamOptimized $1 $2"),
];

/// Empty images as large as they are opened: format, options and size for `qemu-img create`.
const EMPTY: &[(&str, &str, &str)] = &[
    ("raw", "", "2T"),
    ("qcow2", "", "2T"),
    ("vmdk", "", "2T"),
    ("vdi", "", "2T"),
    ("vpc", "-o force_size=on", "2040G"),
    ("vhdx", "", "2T"),
    ("qed", "", "2T"),
    ("qcow", "", "2T"),
    ("parallels", "", "2T"),
];

pub fn measure(program: &Path, runs: u32) -> Result<Section> {
    let bench = Bench::new(program, runs)?;
    let mut figures = Vec::new();
    for form in PLAIN {
        figures.push(bench.plain(form)?);
    }
    for form in COMPRESSED {
        figures.push(bench.compressed(form)?);
    }
    for (format, options, size) in EMPTY {
        figures.push(bench.opening(format, options, size)?);
    }
    figures.push(bench.cipher()?);
    Ok(Section { title: "Image formats", conditions: CONDITIONS, figures })
}

struct Bench<'a> {
    program: &'a Path,
    walker: PathBuf,
    runs: u32,
    /// Where images are kept, one a form.
    directory: PathBuf,
    noise: PathBuf,
    text: PathBuf,
}

impl<'a> Bench<'a> {
    fn new(program: &'a Path, runs: u32) -> Result<Self> {
        let directory = workspace::target().join("bench/formats-1");
        fs::create_dir_all(&directory)?;
        let (noise, text) = (directory.join("noise.raw"), directory.join("text.raw"));
        if !noise.exists() {
            specimen::noise_file(&noise, 8, SIZE)?;
        }
        if !text.exists() {
            text_file(&text)?;
        }
        Ok(Self { program, walker: std::env::current_exe()?, runs, directory, noise, text })
    }

    /// The image of a form, made if it is not there, and in the page cache.
    fn image(&self, form: &Form, source: &Path) -> Result<PathBuf> {
        let name: String = form.name.chars().filter(char::is_ascii_alphanumeric).collect();
        let image = self.directory.join(format!("{name}.001"));
        if !image.exists() {
            run(command("sh", ["-ec", form.make, "sh"]).arg(source).arg(&image))
                .inspect_err(|_| _ = fs::remove_file(&image))?;
        }
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&name)) {
                std::io::copy(&mut File::open(path)?, &mut std::io::sink())?;
            }
        }
        Ok(image)
    }

    /// Seconds to read the disk of an image whole.
    fn whole(&self, image: &Path) -> Result<f64> {
        let arguments = ["-a".to_owned(), image.display().to_string(), "--blocks".to_owned()];
        let mount = GuestMount::new(self.program, User::Myself, &arguments)?;
        let seconds = read(command(&self.walker, ["read"]).arg(mount.path().join("sda")))?.trim().parse()?;
        mount.unmount()?;
        Ok(seconds)
    }

    fn plain(&self, form: &Form) -> Result<Figure> {
        let image = self.image(form, &self.noise)?;
        let (mut raw, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..self.runs {
            raw.push(self.whole(&self.noise)?);
            ours.push(self.whole(&image)?);
        }
        let speed = |seconds| SIZE as f64 / median(seconds);
        Ok(Figure::speed(format!("{}, against raw", form.name), speed(ours), speed(raw), Goal::RatioAtLeast(0.8)))
    }

    fn compressed(&self, form: &Form) -> Result<Figure> {
        let image = self.image(form, &self.text)?;
        let memory = tempfile::Builder::new().prefix("imgmount-bench-").tempdir_in("/dev/shm")?;
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..self.runs {
            let unpacked = memory.path().join("raw");
            theirs.push(timed(command("sh", ["-ec", form.unpack, "sh"]).arg(&image).arg(&unpacked))?);
            fs::remove_file(unpacked)?;
            ours.push(self.whole(&image)?);
        }
        let goal = Goal::RatioAtMost(0.7);
        Ok(Figure::time(format!("{}, whole", form.name), median(ours), Some(median(theirs)), goal))
    }

    fn opening(&self, format: &str, options: &str, size: &str) -> Result<Figure> {
        let image = self.directory.join(format!("empty.{format}"));
        if !image.exists() {
            let mut create = command("qemu-img", ["create", "-q", "-f", format]);
            run(create.args(options.split_whitespace()).arg(&image).arg(size))?;
        }
        let mut times = Vec::new();
        for _ in 0..self.runs {
            times.push(timed(command(self.program, ["filesystems", "-a"]).arg(&image))?);
        }
        Ok(Figure::time(format!("{format} of {size}, opened"), median(times), None, Goal::AtMost(0.020)))
    }

    /// AES-XTS as LUKS has it, beside `openssl speed`.
    fn cipher(&self) -> Result<Figure> {
        let (volume, key) = (self.directory.join("luks"), self.directory.join("key"));
        if !volume.exists() {
            fs::write(&key, "open")?;
            File::create(&volume)?.set_len(SIZE)?;
            let format = ["luksFormat", "-q", "--type=luks2", "--pbkdf=pbkdf2", "--pbkdf-force-iterations=1000"];
            let cipher = ["--cipher=aes-xts-plain64", "--key-size=512", "--key-file"];
            run(command("cryptsetup", format).args(cipher).arg(&key).arg(&volume))
                .inspect_err(|_| _ = fs::remove_file(&volume))?;
        }
        let build = ["build", "--release", "--quiet", "--package", "images", "--example", "unlock_speed"];
        pass_through(&mut workspace::cargo(&build))?;
        let example = workspace::target().join("release/examples/unlock_speed");
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..self.runs {
            let openssl = ["speed", "-mr", "-elapsed", "-seconds", "1", "-bytes", "16384", "-evp", "aes-256-xts"];
            let said = read(&mut command("openssl", openssl))?;
            let figure = said.lines().find(|line| line.starts_with("+F:")).and_then(|line| line.rsplit(':').next());
            theirs.push(figure.context("openssl speed printed no figure")?.trim().parse()?);
            let said = read(command(&example, [&volume]).arg("open"))?;
            let line = said.lines().find_map(|line| line.strip_prefix("reads of 131072 bytes: "));
            let speed: f64 = line.and_then(|line| line.split(' ').next()).context("no figure")?.parse()?;
            ours.push(speed * MIB as f64);
        }
        Ok(Figure::speed("AES-XTS, against openssl", median(ours), median(theirs), Goal::RatioAtLeast(0.7)))
    }
}

/// Words that a compressor makes half as long, and every fourth mebibyte noise.
fn text_file(path: &Path) -> Result<()> {
    let mut noise = Noise::new(9);
    let words: Vec<Vec<u8>> = (0..4000)
        .map(|_| {
            let length = 2 + noise.next() % 9;
            (0..length).map(|_| b'a' + (noise.next() % 26) as u8).chain([b' ']).collect()
        })
        .collect();
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    for mebibyte in 0..SIZE / MIB {
        let mut bytes = Vec::with_capacity(1 << 20);
        if mebibyte % 4 == 3 {
            bytes = noise.bytes(1 << 20);
        }
        while bytes.len() < 1 << 20 {
            bytes.extend_from_slice(&words[usize::try_from(noise.next() % 4000)?]);
        }
        bytes.truncate(1 << 20);
        file.write_all(&bytes)?;
    }
    Ok(file.flush()?)
}
