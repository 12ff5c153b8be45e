//! What a node of a tree is: its number, its kind, its attributes, its name in a directory.

/// A node of one file system. Drivers use `1 .. 2^56`; 0 and the top byte belong to the views. A driver whose own keys are
/// wider gives ids by [`Interned`](crate::Interned).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u64);

/// The first number that no driver uses for a node.
pub(crate) const FIRST_VIEW: u64 = 1 << 56;

/// The kind of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// A point in time: seconds since 1970 in UTC, negative before, and nanoseconds (below 10^9) to add to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub seconds: i64,
    /// Nanoseconds after that second.
    pub nanoseconds: u32,
}

/// The attributes of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The kind of node.
    pub kind: Kind,
    /// Which of the nodes that had this id one after the other, as `i_generation`; 0 where an id is not used again.
    pub generation: u64,
    /// The lower 12 bits of the mode: permissions, set-user-id, set-group-id, sticky.
    pub permissions: u16,
    /// How many names the node has.
    pub links: u32,
    /// The owner's user id.
    pub owner: u32,
    /// The group id.
    pub group: u32,
    /// The size in bytes.
    pub size: u64,
    /// The space it takes, in units of 512 bytes whatever the block size: `st_blocks`.
    pub blocks: u64,
    /// Major and minor number of a device; (0, 0) for other nodes.
    pub device: (u32, u32),
    /// The last access.
    pub accessed: Time,
    /// The last change of the content.
    pub modified: Time,
    /// The last change of the attributes.
    pub changed: Time,
    /// The creation, where the file system records it.
    pub created: Option<Time>,
}

impl Stat {
    /// A directory of root's that anyone may read, without a size, a time, or directories in it.
    pub(crate) fn directory() -> Self {
        Self {
            kind: Kind::Directory,
            generation: 0,
            permissions: 0o755,
            links: 2,
            owner: 0,
            group: 0,
            size: 0,
            blocks: 0,
            device: (0, 0),
            accessed: Time::default(),
            modified: Time::default(),
            changed: Time::default(),
            created: None,
        }
    }
}

/// One name in a directory.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The name: not empty, without `/` and NUL; longer than `name_max` never.
    pub name: &'a [u8],
    /// What it names.
    pub node: NodeId,
    /// The kind, where the directory itself says it.
    pub kind: Option<Kind>,
    /// The `from` with which reading goes on after this entry: never 0, below 2^63.
    pub next: u64,
}
