//! A toy driver: a file system on two disks, of several trees, whose keys are wider than an id.

pub mod layout;

use std::sync::Arc;

use images::{Data, Disk, Error, Extent, Result, read_only, unsupported};
use zerocopy::{FromZeros, IntoBytes};

use self::layout::{Header, MAGIC, RECORDS_AT, Record};
use filesystems::{
    Driver, Entry, FileSystem, FileSystemMut, Forensics, Holds, Identity, Interned, Kind, NodeId, Options, Properties,
    Request, Space, Stat, Time, Trees,
};

/// The line in the table of drivers.
pub const DRIVER: Driver = Driver::new("toy", probe, open);

/// How many records are read: ours.
const RECORDS_MAX: u32 = 1000;

fn header(disk: &dyn Disk) -> Result<Option<Header>> {
    let mut header = Header::new_zeroed();
    if disk.size() < RECORDS_AT {
        return Ok(None);
    }
    disk.read_at(header.as_mut_bytes(), 0)?;
    Ok((header.magic == MAGIC).then_some(header))
}

/// Each of its disks says of which file system it is a part.
fn probe(disk: &dyn Disk) -> Result<Option<Identity>> {
    let identity = |header: Header| Identity { kind: "toy".into(), label: None, uuid: Some(header.uuid.to_string()) };
    Ok(header(disk)?.map(identity))
}

fn open(request: &Request<'_>) -> Result<Arc<dyn FileSystem>> {
    let uuid = probe(&**request.disk)?.and_then(|identity| identity.uuid).unwrap_or_default();
    let (mut first, mut second) = (None, None);
    for member in request.members.with_uuid(&uuid) {
        match header(&*member.disk)? {
            Some(header) if header.index == 0 => first = Some((header, member.disk.clone())),
            Some(_) => second = Some(member.disk.clone()),
            None => {}
        }
    }
    let missing = |which| move || Error::Unknown(format!("the {which} disk of the toy file system {uuid} is missing"));
    let ((header, first), content) = (first.ok_or_else(missing.clone()("first"))?, second);
    let content = content.ok_or_else(missing("second"))?;
    let mut records = vec![Record::new_zeroed(); header.records.get().min(RECORDS_MAX) as usize];
    first.read_at(records.as_mut_bytes(), RECORDS_AT)?;
    let volume = Volume { records, content, options: request.options.clone() };
    Ok(Arc::new(Toy::new(Arc::new(volume), 0)))
}

/// What all trees share.
struct Volume {
    records: Vec<Record>,
    content: Arc<dyn Disk>,
    options: Options,
}

/// One of the trees. A node is known by tree and inode, 64 bits each.
struct Toy {
    volume: Arc<Volume>,
    nodes: Interned<(u64, u64)>,
    properties: Properties,
}

impl Record {
    fn name(&self) -> &[u8] {
        self.name.get(..usize::from(self.name_len)).unwrap_or_default()
    }

    fn key(&self) -> (u64, u64) {
        (self.tree.get(), self.inode.get())
    }
}

impl Volume {
    fn trees(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(|record| record.kind == b't')
    }
}

impl Toy {
    /// The tree with this place among the trees.
    fn new(volume: Arc<Volume>, index: usize) -> Self {
        let root = volume.trees().nth(index).map_or((0, 0), Record::key);
        let identity = Identity { kind: "toy".into(), ..Identity::default() };
        let properties = Properties { identity, name_max: 18, ..Properties::default() };
        Self { nodes: Interned::new(root, &volume.options.budget), volume, properties }
    }

    fn record(&self, node: NodeId) -> Result<&Record> {
        let key = self.nodes.key(node)?;
        self.volume.records.iter().find(|record| record.key() == key).ok_or(Error::NotFound)
    }

    fn children(&self, dir: NodeId) -> Result<impl Iterator<Item = &Record>> {
        let dir = self.record(dir)?;
        let is_child = |record: &&Record| (record.tree, record.parent) == (dir.tree, dir.inode) && record.kind != b't';
        if dir.kind == b'f' { Err(Error::NotDirectory) } else { Ok(self.volume.records.iter().filter(is_child)) }
    }
}

impl FileSystem for Toy {
    fn properties(&self, _: NodeId) -> &Properties {
        &self.properties
    }

    fn space(&self, _: NodeId) -> Result<Space> {
        Ok(Space::default())
    }

    fn root(&self) -> NodeId {
        Interned::<(u64, u64)>::ROOT
    }

    fn stat(&self, node: NodeId) -> Result<Stat> {
        let record = self.record(node)?;
        Ok(Stat {
            kind: if record.kind == b'f' { Kind::File } else { Kind::Directory },
            generation: record.generation.get().into(),
            permissions: 0o644,
            links: 1,
            owner: 0,
            group: 0,
            size: record.len.get().into(),
            blocks: 0,
            device: (0, 0),
            accessed: Time::default(),
            modified: Time::default(),
            changed: Time::default(),
            created: None,
        })
    }

    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<NodeId> {
        let found = self.children(dir)?.find(|record| record.name() == name).ok_or(Error::NotFound)?;
        self.nodes.id(&found.key())
    }

    fn read_dir(&self, dir: NodeId, from: u64, each: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<()> {
        for (next, record) in (1..).zip(self.children(dir)?).filter(|(next, _)| *next > from) {
            if !each(Entry { name: record.name(), node: self.nodes.id(&record.key())?, kind: None, next }) {
                break;
            }
        }
        Ok(())
    }

    fn read_at(&self, file: NodeId, buf: &mut [u8], offset: u64) -> Result<usize> {
        let record = self.record(file)?;
        let rest = u64::from(record.len.get()).saturating_sub(offset);
        let len = usize::try_from(rest).unwrap_or(usize::MAX).min(buf.len());
        self.volume.content.read_at(&mut buf[..len], u64::from(record.at.get()) + offset)?;
        Ok(len)
    }

    fn read_link(&self, _: NodeId) -> Result<Vec<u8>> {
        Err(Error::Invalid)
    }

    fn extent_at(&self, file: NodeId, offset: u64) -> Result<Extent<'_>> {
        let len = u64::from(self.record(file)?.len.get());
        Ok(Extent { len: len.checked_sub(offset).ok_or(Error::Invalid)?, data: Data::Opaque })
    }

    fn holds(&self) -> Option<&dyn Holds> {
        Some(self)
    }

    fn trees(&self) -> Result<&dyn Trees> {
        Ok(self)
    }

    fn forensics(&self) -> Result<&dyn Forensics> {
        Err(unsupported!("a toy is thrown away with all that was in it"))
    }

    fn writer(&self, _: NodeId) -> Result<&dyn FileSystemMut> {
        Err(read_only!("a toy is only looked at"))
    }
}

impl Holds for Toy {
    fn hold(&self, node: NodeId) -> Result<()> {
        self.nodes.hold(node)
    }

    fn forget(&self, node: NodeId, times: u64) {
        self.nodes.forget(node, times);
    }
}

impl Trees for Toy {
    fn names(&self, each: &mut dyn FnMut(&[u8]) -> bool) -> Result<()> {
        self.volume.trees().map(Record::name).all(each);
        Ok(())
    }

    fn open(&self, name: &[u8]) -> Result<Arc<dyn FileSystem>> {
        let index = self.volume.trees().position(|tree| tree.name() == name).ok_or(Error::NotFound)?;
        Ok(Arc::new(Self::new(self.volume.clone(), index)))
    }
}
