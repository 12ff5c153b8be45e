//! Mounts a tree that is made up in memory: what the tests of the FUSE front look at, and what measures it alone.
//!
//! `synthetic [-o OPTIONS]... [--no-fork] [--pid-file FILE] [--fd N] [--slow-start MILLISECONDS] [--fail]
//! [--any-case] [--untagged] [--held] [--memory BYTES] [--owner UID] DIR`, and
//! `synthetic unmount [-v] [-q] [--no-retry] [--retry=N] [--fd=N] DIR`.

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use filesystems::{
    Entry, FileSystem, FileSystemMut, Forensics, Holds, Interned, Kind, Memory, NodeId, Properties, Space, Stat, Time,
};
use images::{Budget, Data, Error, Extent, Result, corrupt, unsupported};
use imgmount::{background, fuse, unmount};

/// The root's number, as in ext4: not the 1 that the kernel uses.
const ROOT: u64 = 2;

/// The content of every file: this many bytes over and over, from a place that depends on the file.
const PATTERN: usize = 1_048_573;

fn main() -> ExitCode {
    env_logger::Builder::from_default_env().init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let code = match arguments.first().map(String::as_str) {
        Some("unmount") => Ok(take_away(&arguments[1..])),
        _ => mount(&arguments),
    };
    code.unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "synthetic: {error}");
        1
    })
    .into()
}

fn mount(arguments: &[String]) -> std::result::Result<u8, Box<dyn std::error::Error>> {
    let mut options = fuse::Options { fsname: Some("a made-up, \\strange image".into()), ..Default::default() };
    let mut plan = background::Plan { words: std::env::args_os().collect(), ..background::Plan::default() };
    let mut directory = None;
    let mut memory: Option<Arc<dyn FileSystem>> = None;
    let (mut delay, mut fail, mut any_case, mut untagged, mut held) = (None, false, false, false, false);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "-o" => options.add(value()?)?,
            "--no-fork" => plan.foreground = true,
            "--pid-file" => plan.pid_file = Some(value()?.into()),
            "--fd" => plan.fd = Some(value()?.parse()?),
            "--slow-start" => delay = Some(Duration::from_millis(value()?.parse()?)),
            "--fail" => fail = true,
            "--any-case" => any_case = true,
            "--untagged" => untagged = true,
            "--held" => held = true,
            "--memory" => memory = Some(Arc::new(Memory::new(value()?.parse()?))),
            "--owner" => {
                let id = value()?.parse()?;
                options.owner = Some((id, id));
            }
            other => directory = Some(PathBuf::from(other)),
        }
    }
    let directory = directory.ok_or("no mountpoint")?;
    let mut server = match background::begin(&plan)? {
        background::Role::Command(code) => return Ok(code),
        background::Role::Server(server) => server,
    };
    delay.into_iter().for_each(std::thread::sleep);
    if fail {
        let _ = writeln!(std::io::stderr(), "synthetic: told to fail");
        return Ok(7);
    }
    let mut tree = Synthetic::new(any_case);
    if untagged {
        tree.nodes.values_mut().for_each(|node| node.xattrs.retain(|(name, _)| name.starts_with(b"user.")));
    }
    let written: Vec<_> = memory.into_iter().collect();
    let tree: Arc<dyn FileSystem> = match written.first() {
        Some(memory) => memory.clone(),
        None if held => Arc::new(Held::new(tree)),
        None => Arc::new(tree),
    };
    let served = fuse::serve(tree, written, &directory, &options, || server.ready());
    server.finish();
    served?;
    Ok(0)
}

fn take_away(arguments: &[String]) -> u8 {
    let mut request =
        unmount::Request { directory: PathBuf::new(), fd: None, quiet: false, verbose: false, retries: 5 };
    for argument in arguments {
        match argument.as_str() {
            "-v" => request.verbose = true,
            "-q" => request.quiet = true,
            "--no-retry" => request.retries = 0,
            other => match other.split_once('=') {
                Some(("--retry", n)) => request.retries = n.parse().unwrap_or(0),
                Some(("--fd", n)) => request.fd = n.parse().ok(),
                _ => request.directory = other.into(),
            },
        }
    }
    unmount::run(&request)
}

/// What is odd about a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Odd {
    No,
    /// Data in the first and the last 64 KiB of each 16 MiB, holes between.
    Sparse,
    /// Reading is an error that names the image.
    Corrupt,
    /// Even its attributes are.
    Lost,
    /// Reading is refused.
    Unsupported,
    /// Reading is a bug.
    Panic,
}

struct Node {
    stat: Stat,
    odd: Odd,
    entries: Vec<(Vec<u8>, NodeId)>,
    names: HashMap<Vec<u8>, NodeId>,
    target: Vec<u8>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

struct Synthetic {
    nodes: HashMap<NodeId, Node>,
    pattern: Vec<u8>,
    properties: Properties,
}

const DAY: Time = Time { seconds: 86_400, nanoseconds: 123_456_789 };

fn stat(kind: Kind, size: u64) -> Stat {
    Stat {
        kind,
        generation: 0,
        permissions: if kind == Kind::Directory { 0o755 } else { 0o640 },
        links: 1,
        owner: 12,
        group: 34,
        size,
        blocks: size.div_ceil(4096) * 8,
        device: (0, 0),
        accessed: DAY,
        modified: DAY,
        changed: DAY,
        created: None,
    }
}

impl Synthetic {
    /// With `any_case` it says that names are found in any case.
    fn new(any_case: bool) -> Self {
        let pattern = (0..PATTERN).map(|n| ((n * 31) >> 3) as u8 ^ n as u8).collect();
        let properties = Properties { name_max: 255, case_insensitive: any_case, ..Properties::default() };
        let mut tree = Self { nodes: HashMap::new(), pattern, properties };
        let root = NodeId(ROOT);
        tree.put(root, stat(Kind::Directory, 4096), Odd::No);
        tree.fill(root);
        let many = tree.add(root, "many", stat(Kind::Directory, 4096));
        for d in 0..100 {
            let dir = tree.add(many, &format!("dir{d:03}"), stat(Kind::Directory, 4096));
            for f in 0..300 {
                tree.add(dir, &format!("file{f:04}"), stat(Kind::File, (f * 37) % 9000));
            }
        }
        let flat = tree.add(root, "flat", stat(Kind::Directory, 4096));
        for f in 0..20_000 {
            tree.add(flat, &format!("a-file-with-a-name-{f:06}"), stat(Kind::File, f));
        }
        tree
    }

    /// One of everything.
    fn fill(&mut self, root: NodeId) {
        self.add(root, "big", stat(Kind::File, 300 << 20));
        let sparse = Stat { blocks: 8 * 256, ..stat(Kind::File, 128 << 20) };
        self.add_odd(root, "sparse", sparse, Odd::Sparse);
        for (name, odd) in
            [("corrupt", Odd::Corrupt), ("lost", Odd::Lost), ("unsupported", Odd::Unsupported), ("panic", Odd::Panic)]
        {
            self.add_odd(root, name, stat(Kind::File, 5000), odd);
        }
        let link = self.add(root, "link", stat(Kind::Symlink, 4));
        self.node(link).target = b"many".to_vec();
        self.add(root, "null", Stat { device: (1, 3), ..stat(Kind::CharDevice, 0) });
        self.add(root, "disk", Stat { device: (259, 70_000), ..stat(Kind::BlockDevice, 0) });
        self.add(root, "fifo", stat(Kind::Fifo, 0));
        self.add(root, "socket", stat(Kind::Socket, 0));
        let hard = self.add(root, "hard", Stat { links: 2, ..stat(Kind::File, 77) });
        self.enter(root, b"hard too".to_vec(), hard);
        self.enter(root, vec![0xff, b'\n', 0xfe], hard);
        let early = Time { seconds: -62_135_596_800, nanoseconds: 5 };
        let late = Time { seconds: 15_032_385_535, nanoseconds: 999_999_999 };
        self.add(root, "times", Stat { modified: late, accessed: early, ..stat(Kind::File, 0) });
        self.add(root, "program", Stat { permissions: 0o4755, ..stat(Kind::File, 1) });
        self.add(root, "secret", Stat { permissions: 0, owner: 0, group: 0, ..stat(Kind::File, 100) });
        let tagged = self.add(root, "tagged", stat(Kind::File, 0));
        self.node(tagged).xattrs = vec![
            (b"user.small".to_vec(), b"value".to_vec()),
            (b"user.empty".to_vec(), Vec::new()),
            (b"security.selinux".to_vec(), b"system_u:object_r:etc_t:s0\0".to_vec()),
            (b"trusted.large".to_vec(), vec![b'x'; 60_000]),
            (b"system.posix_acl_access".to_vec(), acl()),
        ];
        let deep = self.add(root, "number one", stat(Kind::File, 1));
        // The number that the kernel wants for the root.
        let node = self.nodes.remove(&deep).expect("it was just added");
        self.nodes.insert(NodeId(1), node);
        let dir = self.node(root);
        dir.names.insert(b"number one".to_vec(), NodeId(1));
        dir.entries.iter_mut().filter(|(_, id)| *id == deep).for_each(|(_, id)| *id = NodeId(1));
    }

    fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("only nodes that were added are asked for")
    }

    fn put(&mut self, id: NodeId, stat: Stat, odd: Odd) {
        let node = Node { stat, odd, entries: vec![], names: HashMap::new(), target: vec![], xattrs: vec![] };
        self.nodes.insert(id, node);
    }

    fn enter(&mut self, dir: NodeId, name: Vec<u8>, id: NodeId) {
        let dir = self.node(dir);
        dir.names.insert(name.clone(), id);
        dir.entries.push((name, id));
    }

    fn add(&mut self, dir: NodeId, name: &str, stat: Stat) -> NodeId {
        self.add_odd(dir, name, stat, Odd::No)
    }

    fn add_odd(&mut self, dir: NodeId, name: &str, stat: Stat, odd: Odd) -> NodeId {
        let id = NodeId(10 + self.nodes.len() as u64);
        self.put(id, stat, odd);
        self.enter(dir, name.into(), id);
        if stat.kind == Kind::Directory {
            self.node(dir).stat.links += 1;
        }
        id
    }

    fn get(&self, id: NodeId) -> Result<&Node> {
        self.nodes.get(&id).ok_or_else(|| corrupt!("inode table", id.0, "no such inode"))
    }
}

/// Version 2; user::rw-, nobody:r--, group::r--, mask::r--, other::---.
fn acl() -> Vec<u8> {
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in
        [(1u16, 6u16, u32::MAX), (2, 4, 65534), (4, 4, u32::MAX), (0x10, 4, u32::MAX), (0x20, 0, u32::MAX)]
    {
        acl.extend(tag.to_le_bytes());
        acl.extend(permissions.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    acl
}

impl FileSystem for Synthetic {
    fn properties(&self, _: NodeId) -> &Properties {
        &self.properties
    }

    fn space(&self, _: NodeId) -> Result<Space> {
        let (block_size, blocks, blocks_free, blocks_available) = (4096, 1000, 300, 200);
        Ok(Space { block_size, blocks, blocks_free, blocks_available, files: 60_000, files_free: 5000 })
    }

    fn root(&self) -> NodeId {
        NodeId(ROOT)
    }

    fn stat(&self, node: NodeId) -> Result<Stat> {
        let found = self.get(node)?;
        if found.odd == Odd::Lost {
            return Err(corrupt!("inode", node.0, "made to be lost"));
        }
        Ok(found.stat)
    }

    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<NodeId> {
        self.get(dir)?.names.get(name).copied().ok_or(Error::NotFound)
    }

    fn read_dir(&self, dir: NodeId, from: u64, each: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<()> {
        for (n, (name, id)) in self.get(dir)?.entries.iter().enumerate().skip(from as usize) {
            // As some directories do, this one says the kind of only half of its names.
            let kind = (n % 2 == 0).then(|| self.get(*id).map(|node| node.stat.kind)).transpose()?;
            if !each(Entry { name, node: *id, kind, next: n as u64 + 1 }) {
                break;
            }
        }
        Ok(())
    }

    fn read_at(&self, file: NodeId, buf: &mut [u8], offset: u64) -> Result<usize> {
        let node = self.get(file)?;
        match node.odd {
            Odd::Corrupt => return Err(corrupt!("extent", file.0, "made to be corrupt")),
            Odd::Unsupported => return Err(unsupported!("made to be unsupported")),
            Odd::Panic => panic!("made to panic"),
            _ => {}
        }
        let len = node.stat.size.saturating_sub(offset).min(buf.len() as u64) as usize;
        let mut done = 0;
        while done < len {
            let at = ((offset + done as u64 + file.0) % PATTERN as u64) as usize;
            let part = (len - done).min(PATTERN - at);
            buf[done..done + part].copy_from_slice(&self.pattern[at..at + part]);
            done += part;
        }
        if node.odd == Odd::Sparse {
            for (n, byte) in buf[..len].iter_mut().enumerate() {
                if is_hole(offset + n as u64) {
                    *byte = 0;
                }
            }
        }
        Ok(len)
    }

    fn read_link(&self, link: NodeId) -> Result<Vec<u8>> {
        let node = self.get(link)?;
        if node.stat.kind == Kind::Symlink { Ok(node.target.clone()) } else { Err(Error::Invalid) }
    }

    fn extent_at(&self, file: NodeId, offset: u64) -> Result<Extent<'_>> {
        let node = self.get(file)?;
        if node.odd != Odd::Sparse {
            return Ok(Extent { len: node.stat.size - offset, data: Data::Opaque });
        }
        // In pieces, so that runs have to be merged.
        let len = 4096 - offset % 4096;
        Ok(Extent { len, data: if is_hole(offset) { Data::Hole } else { Data::Opaque } })
    }

    fn may_have_xattr(&self, name: &[u8]) -> bool {
        self.nodes.values().any(|node| node.xattrs.iter().any(|(other, _)| other == name))
    }

    fn xattrs(&self, node: NodeId) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(self.get(node)?.xattrs.clone())
    }

    fn forensics(&self) -> Result<&dyn Forensics> {
        Err(unsupported!("it is made up"))
    }

    fn writer(&self, _: NodeId) -> Result<&dyn FileSystemMut> {
        Err(Error::Invalid)
    }
}

/// On the root of [`Held`]: how many nodes somebody holds.
const COUNT: &[u8] = b"user.held";

/// The same tree with keys that are wider than an id, whose nodes end when nobody holds them.
struct Held {
    tree: Synthetic,
    nodes: Interned<(u64, NodeId)>,
}

impl Held {
    fn new(tree: Synthetic) -> Self {
        let nodes = Interned::new(Self::key(tree.root()), &Budget::default());
        Self { tree, nodes }
    }

    fn key(node: NodeId) -> (u64, NodeId) {
        (u64::MAX - node.0, node)
    }

    fn inner(&self, node: NodeId) -> Result<NodeId> {
        Ok(self.nodes.key(node)?.1)
    }
}

impl Holds for Held {
    fn hold(&self, node: NodeId) -> Result<()> {
        self.nodes.hold(node)
    }

    fn forget(&self, node: NodeId, times: u64) {
        self.nodes.forget(node, times);
    }
}

impl FileSystem for Held {
    fn properties(&self, node: NodeId) -> &Properties {
        self.tree.properties(node)
    }

    fn space(&self, node: NodeId) -> Result<Space> {
        self.tree.space(node)
    }

    fn root(&self) -> NodeId {
        Interned::<(u64, NodeId)>::ROOT
    }

    fn stat(&self, node: NodeId) -> Result<Stat> {
        self.tree.stat(self.inner(node)?)
    }

    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<NodeId> {
        self.nodes.id(&Self::key(self.tree.lookup(self.inner(dir)?, name)?))
    }

    fn read_dir(&self, dir: NodeId, from: u64, each: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<()> {
        let mut failed = Ok(());
        self.tree.read_dir(self.inner(dir)?, from, &mut |entry| match self.nodes.id(&Self::key(entry.node)) {
            Ok(node) => each(Entry { node, ..entry }),
            Err(error) => {
                failed = Err(error);
                false
            }
        })?;
        failed
    }

    fn read_at(&self, file: NodeId, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.tree.read_at(self.inner(file)?, buf, offset)
    }

    fn read_link(&self, link: NodeId) -> Result<Vec<u8>> {
        self.tree.read_link(self.inner(link)?)
    }

    fn extent_at(&self, file: NodeId, offset: u64) -> Result<Extent<'_>> {
        self.tree.extent_at(self.inner(file)?, offset)
    }

    fn xattrs(&self, node: NodeId) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut all = self.tree.xattrs(self.inner(node)?)?;
        if node == self.root() {
            all.push((COUNT.to_vec(), self.nodes.count().to_string().into()));
        }
        Ok(all)
    }

    fn holds(&self) -> Option<&dyn Holds> {
        Some(self)
    }

    fn forensics(&self) -> Result<&dyn Forensics> {
        self.tree.forensics()
    }

    fn writer(&self, _: NodeId) -> Result<&dyn FileSystemMut> {
        Err(Error::Invalid)
    }
}

fn is_hole(offset: u64) -> bool {
    let within = offset % (16 << 20);
    (64 << 10..(16 << 20) - (64 << 10)).contains(&within)
}
