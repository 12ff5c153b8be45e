//! Being another user for a moment: the kernel then answers what that user may open.
//!
//! On Linux, ids, groups and capabilities are those of a thread. A thread of its own therefore takes the user's, does its
//! work and ends; the other threads never change. The user is the one for access to files only (`setfsuid`): signals to
//! the thread stay with the process's own user, and so does tracing.

use std::ffi::CString;
use std::io;
use std::panic::resume_unwind;
use std::thread;

use nix::unistd::{self, setfsgid, setfsuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid as ThreadGid, capabilities, set_capabilities, set_thread_groups,
};

/// An id of a user and of a group that no account has: what it may open, everyone may. One less than the last that
/// some systems give to NFS.
const NOBODY: u32 = u32::MAX - 2;

/// Whom the kernel takes a thread for when it opens a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    user: u32,
    group: u32,
    groups: Vec<u32>,
}

impl Credentials {
    /// Those of someone who has no account and is in no group.
    pub fn of_nobody() -> Self {
        Self { user: NOBODY, group: NOBODY, groups: Vec::new() }
    }

    /// Those of someone of whom only one group is known.
    pub fn of_member(group: u32) -> Self {
        Self { user: NOBODY, group, groups: Vec::new() }
    }

    /// All under which `user` may come: with his first group alone, and with all that he is a member of, for a group can
    /// also take rights away.
    ///
    /// Groups are what the host's database of accounts says. The group of a file says nothing of its owner's.
    pub fn of(user: u32) -> Vec<Self> {
        let Ok(Some(account)) = unistd::User::from_uid(user.into()) else {
            return vec![Self { user, group: NOBODY, groups: Vec::new() }];
        };
        let group = account.gid.as_raw();
        let alone = Self { user, group, groups: Vec::new() };
        let groups = CString::new(account.name).ok().and_then(|name| unistd::getgrouplist(&name, account.gid).ok());
        let mut groups: Vec<_> = groups.unwrap_or_default().into_iter().map(unistd::Gid::as_raw).collect();
        groups.retain(|other| *other != group);
        if groups.is_empty() { vec![alone] } else { vec![alone.clone(), Self { groups, ..alone }] }
    }

    /// Does `work` under these credentials, without a capability. Fails if this process may not take them.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        thread::scope(|scope| {
            let thread = thread::Builder::new().spawn_scoped(scope, || {
                self.take()?;
                Ok(work())
            })?;
            thread.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Takes them for this thread, for good.
    fn take(&self) -> io::Result<()> {
        let groups: Vec<_> = self.groups.iter().map(|group| ThreadGid::from_raw(*group)).collect();
        set_thread_groups(&groups)?;
        setfsgid(self.group.into());
        setfsuid(self.user.into());
        // Both say nothing when they fail. An id that cannot be changes nothing either, but says what is.
        let now = (setfsuid(u32::MAX.into()).as_raw(), setfsgid(u32::MAX.into()).as_raw());
        if now != (self.user, self.group) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let none = CapabilitySet::empty();
        Ok(set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?)
    }
}

/// Whether the group is there for this user alone: it has his name, as most systems make one for each user. Where there
/// is no account, it has his number.
pub fn is_private_group(group: u32, user: u32) -> bool {
    match unistd::User::from_uid(user.into()) {
        Ok(Some(account)) => {
            let its = unistd::Group::from_gid(group.into());
            its.ok().flatten().is_some_and(|group| group.name == account.name && group.gid == account.gid)
        }
        _ => group == user,
    }
}

/// Whether this thread has rights that no user has: then what it may open says nothing of its user.
pub fn are_beyond_any_user() -> bool {
    let beyond = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    capabilities(None).map_or(true, |sets| sets.effective.intersects(beyond))
}
