//! The other disks on which a file system may lie: found by what is on them.

use std::collections::HashMap;
use std::sync::Arc;

use images::Disk;

use crate::identity::Identity;

/// A disk that may be a part of a file system: a journal or a log, another device of several.
#[derive(Clone)]
pub struct Member {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// What a probe says of it, if one knows what it holds.
    pub identity: Option<Identity>,
}

/// All disks that may be parts of a file system. Whoever opens file systems collects them; a driver takes those that its
/// file system names, by their UUID or by a probe of its own. A clone is the same list.
#[derive(Clone, Default)]
pub struct Members(Arc<List>);

#[derive(Default)]
struct List {
    all: Vec<Member>,
    /// Of those that have a UUID, the indexes: there may be very many, and each file system asks.
    by_uuid: HashMap<String, Vec<usize>>,
}

impl Members {
    /// Those whose own contents have this UUID, as [`Identity::uuid`] has it. The disk that is opened may be among them.
    pub fn with_uuid(&self, uuid: &str) -> impl Iterator<Item = &Member> {
        self.0.by_uuid.get(uuid).into_iter().flatten().filter_map(|at| self.0.all.get(*at))
    }

    /// All of them, for a driver that knows its own by what lies on them: parts that no probe names.
    pub fn all(&self) -> &[Member] {
        &self.0.all
    }
}

impl FromIterator<Member> for Members {
    fn from_iter<I: IntoIterator<Item = Member>>(members: I) -> Self {
        let all: Vec<_> = members.into_iter().collect();
        let mut by_uuid: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, member) in all.iter().enumerate() {
            if let Some(uuid) = member.identity.as_ref().and_then(|identity| identity.uuid.clone()) {
                by_uuid.entry(uuid).or_default().push(at);
            }
        }
        Self(Arc::new(List { all, by_uuid }))
    }
}
