//! An image that is written, and what the world says of it afterwards.

use std::sync::Arc;

use filesystems::{FileSystem, FileSystemMut, New, NewContent, NodeId, Options, Rename, ext};
use images::Result;
use images::disk::{Access, HostFile};

use crate::ext_image::{Image, Mount};
use crate::walk;

/// ext4's options of mke2fs, without a journal; they end in a list of features.
macro_rules! ext4 {
    ($more:literal) => {
        concat!(
            "-I 256 -O extent,64bit,flex_bg,metadata_csum,dir_nlink,extra_isize,huge_file,dir_index,filetype,large_file",
            ",sparse_super",
            $more
        )
    };
}
pub(crate) use ext4;

/// File systems, as mke2fs makes them: what changes how names are written.
pub const FEATURES: &[(&str, &str)] = &[
    ("ext2", "-b 1024 -O none,filetype,sparse_super,large_file,dir_index"),
    ("ext2 of revision 0", "-b 1024 -r 0 -O none"),
    ("ext2 without file types", "-b 2048 -O none,sparse_super"),
    ("small inodes", "-b 4096 -I 128 -O none,filetype,dir_index"),
    ("ext4", ext4!(" -b 4096")),
    ("ext4 of small blocks", ext4!(" -b 1024")),
    ("ext4 without checksums", ext4!(",^metadata_csum,uninit_bg -b 1024")),
    ("ext4 without hash trees", ext4!(",^dir_index -b 2048")),
    ("bigalloc", ext4!(",bigalloc -b 1024 -C 8192")),
    ("inline data", ext4!(",inline_data -b 1024")),
    ("inline data in large inodes", ext4!(",inline_data -b 4096 -I 1024")),
    ("large_dir", ext4!(",large_dir -b 1024")),
    ("meta_bg", ext4!(",meta_bg,^resize_inode -b 1024")),
    ("ext3", "-b 1024 -J size=1 -O none,has_journal,filetype,dir_index,sparse_super"),
    ("journal", ext4!(",has_journal -b 1024 -J size=1")),
    ("journal and orphan file", ext4!(",has_journal,orphan_file -b 1024 -J size=1")),
    ("large blocks", ext4!(" -b 65536")),
    ("large blocks without checksums", ext4!(",^metadata_csum -b 65536")),
];

/// An image that is open for writing.
pub struct Written {
    pub image: Image,
    pub fs: Arc<dyn FileSystem>,
}

impl Written {
    /// A new file system of `megabytes`, made with these options of mke2fs.
    pub fn new(options: &str, megabytes: u64) -> Self {
        Self::of(Image::new(options, megabytes, None))
    }

    pub fn of(image: Image) -> Self {
        let disk = Arc::new(HostFile::open_for(&image.path, Access::ReadWrite).unwrap());
        let mut options = Options::default();
        options.access = Access::ReadWrite;
        let fs = Arc::new(ext::mount(disk, &options).unwrap());
        Self { image, fs }
    }

    pub fn writer(&self) -> &dyn FileSystemMut {
        self.fs.writer(self.fs.root()).unwrap()
    }

    /// Makes a node, held by nobody.
    pub fn make(&self, dir: NodeId, name: impl AsRef<[u8]>, content: NewContent<'_>) -> Result<NodeId> {
        let new = New { content, permissions: 0o755, umask: 0o022, owner: 1000, group: 100_000, xattrs: &[] };
        let node = self.writer().create(dir, name.as_ref(), &new)?;
        self.let_go(node);
        Ok(node)
    }

    pub fn directory(&self, dir: NodeId, name: impl AsRef<[u8]>) -> NodeId {
        self.make(dir, name, NewContent::Directory).unwrap()
    }

    pub fn file(&self, dir: NodeId, name: impl AsRef<[u8]>) -> NodeId {
        self.make(dir, name, NewContent::File).unwrap()
    }

    pub fn rename(&self, from: (NodeId, &str), to: (NodeId, &str), how: Rename) -> Result<()> {
        self.writer().rename((from.0, from.1.as_bytes()), (to.0, to.1.as_bytes()), how)
    }

    pub fn remove(&self, dir: NodeId, name: impl AsRef<[u8]>) -> Result<()> {
        self.writer().remove(dir, name.as_ref())
    }

    pub fn lookup(&self, dir: NodeId, name: impl AsRef<[u8]>) -> Result<NodeId> {
        let node = self.fs.lookup(dir, name.as_ref())?;
        self.let_go(node);
        Ok(node)
    }

    pub fn let_go(&self, node: NodeId) {
        self.fs.holds().unwrap().forget(node, 1);
    }

    /// Closes it; e2fsck must find nothing, and the kernel must see the same tree.
    pub fn close(self, case: &str) -> Image {
        let before = whole(walk::of_file_system(&*self.fs));
        self.writer().close().unwrap_or_else(|error| panic!("{case}: {error}"));
        drop(self.fs);
        check(&self.image, case);
        let reopened = whole(walk::of_file_system(&*self.image.open()));
        walk::assert_same(&format!("{case}, opened again"), &before, &reopened);
        // The kernel mounts no blocks that are larger than its pages.
        let large = toolbox::run(toolbox::command("dumpe2fs").arg("-h").arg(&self.image.path)).contains(" 65536\n");
        if !large {
            let mount = Mount::new(&self.image, "ro,noload");
            walk::assert_same(&format!("{case}, by the kernel"), &whole(walk::of_host(&mount.path)), &before);
        }
        self.image
    }
}

/// A tree without where its files have data: what they read as is the same, and where the image has holes is another matter.
fn whole(mut tree: walk::Tree) -> walk::Tree {
    tree.values_mut().for_each(|record| record.data.clear());
    tree
}

/// Fails unless e2fsck finds the file system clean.
pub fn check(image: &Image, case: &str) {
    let output = toolbox::command("e2fsck").args(["-fn"]).arg(&image.path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{case}: {text}");
}
