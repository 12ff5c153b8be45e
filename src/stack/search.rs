//! How a stack is made: every leaf is asked once what a device is, and what it makes of that is asked next.

use std::collections::HashMap;
use std::sync::Arc;

use filesystems::{Driver, Identity};
use images::crypt::{self, Sealed};
use images::disk::{Cached, Pages};
use images::{Disk, Error, Result};
use partition::{Claim, Name, Scheme, Volume};

use super::{Contents, Device, Level, Lock, Stack};
use crate::device_name::of_disk;
use crate::keys::{self, Keys, Outcome};

/// How deep volumes may lie in volumes: a partition table, then logical volumes in logical volumes; ours.
const MAX_LEVELS: usize = 8;
/// How many devices a set of images may hold; ours. A table of partitions has at most some hundreds.
const MAX_DEVICES: usize = 65_536;
/// How many reads of images one read of each volume may take together; ours. A logical volume on a RAID 6 of 24 disks may take
/// 48: there may be five thousand of these.
const MAX_READS: u64 = 1 << 18;
/// What is kept of a device for those whose file systems may go on on it, in bytes, about.
const MEMBER: u64 = 256;

/// How probes read, in bytes: whole pages, and no more of them are kept for all devices together.
const PROBE_PAGE: usize = 4096;
const PROBE_CACHE: u64 = 1 << 20;

/// A stack that is being made.
pub(super) struct Search<'a> {
    stack: Stack,
    keys: &'a Keys,
    /// What probes read of all devices.
    pages: Arc<Pages>,
    /// The devices for probes, and what the schemes said of them.
    starts: HashMap<usize, Arc<dyn Disk>>,
    claims: HashMap<usize, Claim>,
}

impl<'a> Search<'a> {
    /// For a stack that has no device yet.
    pub(super) fn new(stack: Stack, keys: &'a Keys) -> Self {
        let pages = Pages::new(PROBE_PAGE, PROBE_CACHE);
        Self { stack, keys, pages, starts: HashMap::new(), claims: HashMap::new() }
    }

    /// Finds everything in these disks.
    pub(super) fn run(mut self, disks: Vec<Arc<dyn Disk>>) -> Result<Stack> {
        for (index, disk) in disks.into_iter().enumerate() {
            self.stack.add(Device::new(of_disk(index), Level::Disk, disk.size(), Ok(disk)));
        }
        let (mut from, mut leaves) = (0, Vec::new());
        for _ in 0..MAX_LEVELS {
            // First all that lies on one device alone, so that a volume group finds its members inside and outside of
            // encrypted volumes.
            let mut at = from;
            while at < self.stack.devices.len() {
                self.unlock(at)?;
                if matches!(self.stack.devices[at].level, Level::Disk | Level::Array(_) | Level::Unlocked) {
                    self.divide(&[at], false)?;
                }
                at += 1;
            }
            leaves.extend(from..self.stack.devices.len());
            from = self.stack.devices.len();
            // Then arrays, so that a volume group finds its members on them and beside them.
            let (of_arrays, others): (Vec<_>, Vec<_>) = leaves.into_iter().partition(|&at| self.is_hidden(at));
            let (now, later) = if of_arrays.is_empty() { (others, Vec::new()) } else { (of_arrays, others) };
            self.divide(&now, true)?;
            leaves = later;
            if from == self.stack.devices.len() && leaves.is_empty() {
                break;
            }
        }
        for at in 0..self.stack.devices.len() {
            if !matches!(self.stack.devices[at].contents, Contents::Unknown) {
                continue;
            }
            if let Some(start) = self.start(at) {
                self.stack.devices[at].contents = match filesystems::identify_among(self.stack.tables.drivers, &*start)
                {
                    Ok(Some((driver, identity))) => Contents::Known(driver, identity),
                    Ok(None) => Contents::Unknown,
                    Err(error) => Contents::Unreadable(Arc::new(error)),
                };
            }
        }
        let stack = &mut self.stack;
        let bytes = (stack.devices.len() as u64).saturating_mul(MEMBER);
        stack.held.push(stack.options.budget.take(bytes, "the list of the devices")?);
        let beside = std::mem::take(&mut stack.members);
        stack.members = stack.devices.iter().filter_map(Device::member).chain(beside.all().iter().cloned()).collect();
        Ok(self.stack)
    }

    /// A device for probes: what one of them read, none reads again.
    fn start(&mut self, at: usize) -> Option<Arc<dyn Disk>> {
        let disk = self.stack.devices[at].disk.as_ref().ok()?;
        let cached = || -> Arc<dyn Disk> { Arc::new(Cached::sharing(disk.clone(), PROBE_PAGE, self.pages.clone())) };
        Some(self.starts.entry(at).or_insert_with(cached).clone())
    }

    /// What the schemes say of a device. They are asked once.
    fn claim(&mut self, at: usize) -> Claim {
        if let Some(claim) = self.claims.get(&at) {
            return claim.clone();
        }
        let start = self.start(at);
        let ask = |start| partition::claim(&start, self.stack.tables.schemes, &self.stack.options.budget);
        let claim = start.map_or(Ok(None), ask);
        self.claims.insert(at, claim.clone());
        claim
    }

    /// Whether what a device looks like is part of what an array holds.
    fn is_hidden(&mut self, at: usize) -> bool {
        matches!(self.stack.devices[at].contents, Contents::Unknown)
            && matches!(self.claim(at), Ok(Some(scheme)) if scheme.hides())
    }

    /// Unlocks a device if it is an encrypted volume and one of the keys opens it: what is inside becomes a device.
    fn unlock(&mut self, at: usize) -> Result<()> {
        let device = &self.stack.devices[at];
        let (Contents::Unknown, Ok(disk)) = (&device.contents, device.disk.clone()) else { return Ok(()) };
        let header = self.keys.header(&|id: &str| self.stack.find(id) == Some(at))?;
        let Some(lies) = header.clone().or_else(|| self.start(at)) else { return Ok(()) };
        let container = match crypt::recognise_among(self.stack.tables.containers, &*lies) {
            Ok(Some(container)) if self.depth(at) < MAX_LEVELS && !self.is_hidden(at) => container,
            // Whatever is wrong, the drivers say it when they are asked.
            _ => return Ok(()),
        };
        self.stack.devices[at].container = Some(container);
        let stack = &self.stack;
        let device = &stack.devices[at];
        let is_named = |id: &str| stack.find(id) == Some(at);
        let uuid = (container.uuid)(&*lies).ok().flatten();
        let inside = stack.unlocked_name(&device.name, uuid.as_deref().map(|uuid| (container.mapped, uuid)));
        let sealed = Sealed { disk: disk.clone(), header: header.clone(), name: inside.clone() };
        let volume =
            keys::Volume { device: &device.name, inside: Some(&inside), uuid: uuid.as_deref(), is_named: &is_named };
        let outcome = match (container.unprotected)(&sealed) {
            Ok(Some(disk)) => Ok(Outcome::Open(disk)),
            Ok(None) => self.keys.unlock(&volume, |secret| (container.unlock)(&sealed, secret)),
            Err(error) => Err(error),
        };
        let identity = filesystems::identify_among(stack.tables.drivers, &*lies);
        let mut inside = match outcome {
            Ok(Outcome::Open(disk)) => Device::new(inside, Level::Unlocked, disk.size(), Ok(disk)),
            Ok(Outcome::NoKey) => return self.locked(at, Lock::NoKey, identity),
            Ok(Outcome::WrongKey) => return self.locked(at, Lock::WrongKey, identity),
            Err(error) => return self.locked(at, Lock::Failed(Arc::new(error)), identity),
        };
        inside.on = vec![at];
        inside.kind = "unlocked".to_owned();
        if self.stack.devices.len() >= MAX_DEVICES {
            return Err(Error::Unsupported(format!("more than {MAX_DEVICES} devices in the images")));
        }
        let open = Lock::Open(self.stack.devices.len());
        self.stack.add(inside);
        self.locked(at, open, identity)
    }

    fn locked(&mut self, at: usize, lock: Lock, identity: Result<Option<(&'static Driver, Identity)>>) -> Result<()> {
        let device = &mut self.stack.devices[at];
        device.lock = Some(lock);
        // Otherwise it is asked again, with the same answer.
        if let Ok(Some((driver, identity))) = identity {
            device.contents = Contents::Known(driver, identity);
        }
        Ok(())
    }

    /// How many devices lie below this one, along the first of each.
    fn depth(&self, at: usize) -> usize {
        std::iter::successors(Some(at), |&at| self.stack.devices[at].on.first().copied()).take(MAX_LEVELS + 1).count()
            - 1
    }

    /// Asks the schemes of these devices, and adds the volumes that they find: those of partition tables, or those
    /// of volume managers, whose volumes may lie on several devices.
    fn divide(&mut self, candidates: &[usize], shares: bool) -> Result<()> {
        let candidates: Vec<usize> = candidates
            .iter()
            .copied()
            .filter(|&at| matches!(self.stack.devices[at].contents, Contents::Unknown))
            .collect();
        let disks: Vec<_> = candidates.iter().filter_map(|&at| self.stack.devices[at].disk.clone().ok()).collect();
        let claims: Vec<_> = candidates.iter().map(|&at| self.claim(at)).collect();
        for (&at, claim) in candidates.iter().zip(&claims) {
            if let Err(error) = claim {
                self.stack.devices[at].contents = Contents::Unreadable(error.clone());
            }
        }
        for found in partition::divide(&disks, &claims, shares, &self.stack.options.budget) {
            let volumes = found.volumes.map_err(Arc::new);
            self.stack.held.push(found.held);
            for &member in &found.members {
                self.stack.devices[candidates[member]].contents = match &volumes {
                    Err(error) => Contents::Unreadable(error.clone()),
                    Ok(_) => match &found.scheme.members {
                        Some(members) => Contents::Member(members),
                        None => Contents::Table(found.scheme.name),
                    },
                };
            }
            for volume in volumes.unwrap_or_default() {
                if self.stack.devices.len() >= MAX_DEVICES {
                    return Err(Error::Unsupported(format!("more than {MAX_DEVICES} devices in the images")));
                }
                let on: Vec<usize> = volume.members.iter().map(|&member| candidates[member]).collect();
                let device = self.volume(found.scheme, volume, on);
                self.stack.add(device);
            }
            for mut group in found.groups {
                for index in group.members.iter_mut().filter_map(|member| member.index.as_mut()) {
                    *index = candidates[*index];
                }
                self.stack.groups.push(group);
            }
        }
        Ok(())
    }

    /// The device that a volume is.
    fn volume(&mut self, scheme: &Scheme, volume: Volume, on: Vec<usize>) -> Device {
        let (name, level) = match volume.name {
            Name::Number(number) => {
                let whole = on.first().map_or("", |&at| &self.stack.devices[at].name);
                // As the kernel and kpartx do where a name ends with a digit.
                let between = if whole.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
                (format!("{whole}{between}{number}"), Level::Partition(number))
            }
            Name::InGroup(group, own) => (format!("/dev/{group}/{own}"), Level::Logical(group, own)),
            Name::Array { number, name } => {
                let stem = scheme.members.and_then(|members| members.arrays).unwrap_or(scheme.name);
                (self.stack.array_name(stem, number), Level::Array(name))
            }
        };
        let whole = Device::new(name, level, volume.size, self.count(volume.disk));
        let contents = if volume.frame { Contents::Frame } else { whole.contents };
        Device {
            on,
            contents,
            kind: volume.kind,
            kind_id: volume.kind_id,
            label: volume.label,
            uuid: volume.uuid,
            mapped: volume.mapped,
            ..whole
        }
    }

    /// The disk of a volume, unless reading it and all others would take too long.
    fn count(&mut self, disk: partition::Built) -> partition::Built {
        let disk = disk?;
        let reads = self.stack.reads.saturating_add(disk.amplification());
        if reads > MAX_READS {
            let why = format!(
                "{disk}: one read of it may take {} reads of the images, and with all others more than {MAX_READS}",
                disk.amplification()
            );
            return Err(Arc::new(Error::Unsupported(why)));
        }
        self.stack.reads = reads;
        Ok(disk)
    }
}
