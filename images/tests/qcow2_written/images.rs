//! Images to be written, made by qemu-img: of every cluster size, width of counts and source.

use std::sync::Arc;

use ::images::{Access, Disk, Options};

use crate::tools::{Folder, patterned, read_all};

/// What is in the image before it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nothing.
    Empty,
    /// Data in clusters of its own.
    Full,
    /// The same, compressed.
    Compressed,
    /// A backing file, which is shorter, and some data above it.
    Backing,
    /// Data that an internal snapshot has, too, and some data since.
    Snapshot,
}

pub const SOURCES: [Source; 5] = [Source::Empty, Source::Full, Source::Compressed, Source::Backing, Source::Snapshot];

/// An image.
#[derive(Clone, Debug)]
pub struct Kind {
    pub source: Source,
    /// The options of `qemu-img create`.
    pub options: String,
    /// The size of the disk in bytes.
    pub size: u64,
}

/// Widths, sizes and versions that all sources have.
pub const SHAPES: [&str; 14] = [
    "compat=v3",
    "compat=0.10",
    "cluster_size=512",
    "cluster_size=512,refcount_bits=64",
    "cluster_size=512,compat=0.10",
    "cluster_size=1k,refcount_bits=1",
    "cluster_size=2k,refcount_bits=2",
    "cluster_size=4k,refcount_bits=4",
    "cluster_size=8k,refcount_bits=8",
    "cluster_size=2M",
    "refcount_bits=32",
    "extended_l2=on",
    "extended_l2=on,cluster_size=16k",
    "lazy_refcounts=on",
];

impl Kind {
    /// Whether qemu-img makes such an image.
    pub fn is_possible(&self) -> bool {
        let one_bit = self.options.contains("refcount_bits=1") && !self.options.contains("refcount_bits=16");
        match self.source {
            // A snapshot counts twice, and compressed clusters share one.
            Source::Snapshot => !one_bit,
            Source::Compressed => !one_bit && !self.options.contains("refcount_bits=2"),
            _ => true,
        }
    }

    /// Makes it as `image` in `folder`; what it holds.
    pub fn make(&self, folder: &Folder) -> Vec<u8> {
        let Self { source, options, size } = self;
        let (content, some) = (patterned(7, *size as usize), 512 * (size / 1024 / 3));
        folder.write("content", &content);
        let later = |folder: &Folder| {
            let at = |part: u64| size / 9 * part / 512 * 512;
            let commands =
                [(1, 66), (4, 77), (6, 88)].map(|(part, byte)| format!("write -P {byte} {} {some}", at(part)));
            folder.io("image", &commands);
        };
        match source {
            Source::Empty => drop(folder.run(&format!("qemu-img create -q -f qcow2 -o {options} image {size}"))),
            Source::Full => drop(folder.run(&format!("qemu-img convert -f raw -O qcow2 -o {options} content image"))),
            Source::Compressed => {
                folder.run(&format!("qemu-img convert -c -f raw -O qcow2 -o {options} content image"));
            }
            Source::Backing => {
                folder.write("base", &content[..content.len() / 3 * 2 / 512 * 512]);
                folder.run(&format!("qemu-img create -q -f qcow2 -o {options} -b base -F raw image {size}"));
                later(folder);
            }
            Source::Snapshot => {
                folder.run(&format!("qemu-img convert -f raw -O qcow2 -o {options} content image"));
                folder.run("qemu-img snapshot -c before image");
                later(folder);
            }
        }
        folder.reference("image")
    }

    /// Fails unless others still have what they had, and QEMU finds nothing wrong with what this is now.
    pub fn check(&self, folder: &Folder, want: &[u8]) {
        folder.run("qemu-img check -q image");
        assert!(folder.reference("image") == want, "{self:?}: QEMU reads something else");
        let content = || folder.read("content");
        match self.source {
            Source::Backing => assert!(folder.read("base") == content()[..content().len() / 3 * 2 / 512 * 512]),
            Source::Snapshot => {
                folder.run("qemu-img convert -l snapshot.name=before -O raw image before");
                assert!(folder.read("before") == content(), "{self:?}: the snapshot has changed");
            }
            _ => {}
        }
    }
}

/// Opens `image` for reading and writing.
pub fn open(folder: &Folder) -> Arc<dyn Disk> {
    let options = Options { access: Access::ReadWrite, ..Options::default() };
    ::images::open(&folder.path("image"), &options).unwrap()
}

/// Fails unless `disk` reads as `want`, whole and by its extents.
pub fn check_read(disk: &dyn Disk, want: &[u8]) {
    assert!(read_all(disk) == want, "what was written is not what is read");
    let mut at = 0;
    while at < disk.size() {
        let extent = disk.extent_at(at).unwrap();
        let bytes = &want[at as usize..][..extent.len as usize];
        assert!(!extent.data.reads_zero() || bytes.iter().all(|byte| *byte == 0), "a hole with data at {at}");
        at += extent.len;
    }
}
