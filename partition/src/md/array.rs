//! The members of one array: who has which place, who is left out and why, and the disk that the rest makes.

use std::sync::Arc;

use images::disk::View;
use images::{Disk, Error, Result, ResultExt, corrupt, unsupported};

use super::layout::MAX_DISKS_1;
use super::patchy::Patchy;
use super::superblock::{Role, Superblock};
use super::{journal, level};
use crate::{Name, Volume};

/// How far behind the newest a member's count of events may be; the kernel's: members are written one after the other.
const MAX_EVENTS_BEHIND: u64 = 1;
/// The greatest number that an array's name can ask for; the kernel's (`MINORBITS`).
const MAX_NUMBER: u32 = (1 << 20) - 1;

/// A disk with a superblock.
pub struct Member<'a> {
    /// Which of the disks that were given.
    pub index: usize,
    pub disk: &'a Arc<dyn Disk>,
    pub superblock: Superblock,
}

/// All members with one UUID.
pub struct Array<'a> {
    members: Vec<Member<'a>>,
}

/// What the members make.
struct Assembly {
    disk: Result<Arc<dyn Disk>>,
    /// How many places have a member that is up to date.
    in_sync: usize,
    /// The members that have a place, as indices of the disks that were given.
    used: Vec<usize>,
}

impl<'a> Array<'a> {
    pub fn new(member: Member<'a>) -> Self {
        Self { members: vec![member] }
    }

    pub fn add(&mut self, member: Member<'a>) {
        self.members.push(member);
    }

    pub fn uuid(&self) -> [u8; 16] {
        self.newest().superblock.array_uuid
    }

    /// The member that was written last and has, or had, a place. The first of several.
    fn newest(&self) -> &Member<'a> {
        let rank = |member: &Member<'_>| {
            let counts = matches!(member.superblock.role(), Role::Active(_) | Role::Journal);
            (counts, member.superblock.events)
        };
        let newest = self.members.iter().rev().max_by_key(|member| rank(member));
        newest.expect("an array is made of its first member")
    }

    /// What it is called in messages.
    fn label(&self) -> String {
        let of = &self.newest().superblock;
        match (of.minor, of.name.as_str()) {
            (Some(minor), _) => format!("array md{minor}"),
            (None, "") => format!("array {}", of.uuid()),
            (None, name) => format!("array {}", name.escape_debug()),
        }
    }

    pub fn volume(self) -> Volume {
        let of = &self.newest().superblock;
        let Assembly { disk, in_sync, used } = self.assemble();
        let mut kind = level::name(of.level);
        if in_sync < of.raid_disks as usize && disk.is_ok() {
            kind += &format!(", degraded: {in_sync} of {} members", of.raid_disks);
        }
        let number = of.minor.or_else(|| number_in(&of.name)).filter(|number| *number <= MAX_NUMBER);
        Volume {
            name: Name::Array { number, name: of.name.clone() },
            members: used,
            start: None,
            size: disk.as_ref().map_or(0, |disk| disk.size()),
            kind,
            kind_id: None,
            label: None,
            uuid: Some(of.uuid()),
            frame: false,
            disk: disk.map_err(Arc::new),
        }
    }

    fn assemble(&self) -> Assembly {
        let all = || self.members.iter().map(|member| member.index).collect();
        let fail = |error| Assembly { disk: Err(error), in_sync: 0, used: all() };
        let of = &self.newest().superblock;
        let count = of.raid_disks as usize;
        if count == 0 || count > MAX_DISKS_1 {
            let why = corrupt!("MD superblock", of.at, "{count} members, want 1 to {MAX_DISKS_1}");
            return fail(why);
        }
        let places = match self.places(count) {
            Ok(places) => places,
            Err(error) => return fail(error),
        };
        let is_whole = |member: &&&Member<'_>| member.superblock.progress.is_none();
        let in_sync = places.iter().flatten().filter(is_whole).count();
        let mut used: Vec<usize> = places.iter().flatten().map(|member| member.index).collect();
        used.sort_unstable();
        let disk = self.check(of, count - in_sync).and_then(|()| self.open(of, &places));
        if disk.is_err() || used.is_empty() {
            used = all();
        }
        Assembly { disk, in_sync, used }
    }

    /// By place, the member that has it. Those that are left out are named.
    fn places(&self, count: usize) -> Result<Vec<Option<&Member<'a>>>> {
        let label = self.label();
        let newest = self.newest();
        let mut places: Vec<Option<&Member<'a>>> = vec![None; count];
        for member in &self.members {
            let found = &member.superblock;
            let Role::Active(place) = found.role() else {
                if found.role() == Role::Faulty {
                    log::warn!("{label}: {} is left out: it was marked as faulty", member.disk);
                }
                continue;
            };
            if let Err(why) = up_to_date(found, &newest.superblock) {
                log::warn!("{label}: {} is left out: {why}", member.disk);
                continue;
            }
            // Within bounds: any other place makes a spare.
            let Some(taken) = places.get_mut(place as usize) else { continue };
            *taken = match taken.take() {
                None => Some(member),
                // Both are there until the one has replaced the other.
                Some(other) if other.superblock.is_replacement != found.is_replacement => {
                    Some(if found.is_replacement { other } else { member })
                }
                Some(other) => {
                    return Err(Error::Ambiguous(format!(
                        "{label}: {} and {} both claim to be member {place}, give only one of them",
                        other.disk, member.disk
                    )));
                }
            };
        }
        Ok(places)
    }

    /// Whether an array of which so many members are missing or not recovered can be read at all.
    fn check(&self, of: &Superblock, missing: usize) -> Result<()> {
        let label = self.label();
        if of.is_reshaping {
            return Err(unsupported!(
                "{label}: is being reshaped, which is not supported; let Linux finish that first (mdadm --wait)"
            ));
        }
        if missing > 0 && !of.is_in_sync && level::has_parity(of.level) {
            return Err(unsupported!(
                "{label}: a member is missing and the array was not stopped cleanly, so that its parity may be wrong; \
                 add the disk of the missing member with -a"
            ));
        }
        if missing > 0 && level::is_redundant(of.level) {
            log::warn!("{label}: is degraded, {missing} of {} members are missing or not up to date", of.raid_disks);
        }
        if of.has_journal {
            self.check_journal(&label, of)?;
        }
        Ok(())
    }

    /// Writes that are in the journal only would be missing, and parities be wrong.
    fn check_journal(&self, label: &str, of: &Superblock) -> Result<()> {
        let current = |member: &&Member<'_>| member.superblock.events.saturating_add(MAX_EVENTS_BEHIND) >= of.events;
        let mut journals = self.members.iter().filter(|member| member.superblock.role() == Role::Journal);
        let Some(member) = journals.find(current) else {
            log::warn!("{label}: its journal is on none of the disks; what is in the journal alone is not seen");
            return Ok(());
        };
        let found = &member.superblock;
        let data = View::new(member.disk.to_string(), member.disk.clone(), found.data_start, found.data_size)?;
        if journal::is_dirty(&data, found.progress.unwrap_or(0))? {
            return Err(unsupported!(
                "{label}: its journal on {} holds writes that have not reached the array, which is not supported; \
                 Linux writes them when it starts the array",
                member.disk
            ));
        }
        Ok(())
    }

    fn open(&self, of: &Superblock, places: &[Option<&Member<'a>>]) -> Result<Arc<dyn Disk>> {
        let label = self.label();
        let legs = |with_recovering: bool| -> Vec<Option<Arc<dyn Disk>>> {
            let wanted = |member: &&Member<'a>| with_recovering || member.superblock.progress.is_none();
            let leg = |member: &Member<'a>| match leg(member, of) {
                Ok(leg) => Some(leg),
                Err(why) => {
                    log::warn!("{label}: {} is left out: {why}", member.disk);
                    None
                }
            };
            places.iter().map(|place| place.filter(|member| wanted(&member)).and_then(leg)).collect()
        };
        let opened = level::open(&label, of, legs(false))?;
        // A member that is being recovered is worth something only where the array can do without it.
        match places.iter().flatten().any(|member| member.superblock.progress.is_some()) {
            true => level::open(&label, of, legs(true)),
            false => Ok(opened),
        }
    }
}

/// Why a member that has a place is not trusted, if it is not: `newest` knows better.
fn up_to_date(found: &Superblock, newest: &Superblock) -> std::result::Result<(), String> {
    let same = |other: &Superblock| (other.level, other.layout, other.chunk, other.raid_disks, other.used_size);
    if found.events.saturating_add(MAX_EVENTS_BEHIND) < newest.events {
        return Err(format!("it is behind, at event {} of {}", found.events, newest.events));
    }
    if same(found) != same(newest) {
        return Err("its superblock describes another array of the same UUID".to_owned());
    }
    match newest.role_of(found.number) {
        role if role == found.role() => Ok(()),
        Role::Faulty => Err("the other members say that it failed".to_owned()),
        _ => Err("the other members do not count it any more".to_owned()),
    }
}

/// The bytes of a member that belong to the array.
fn leg(member: &Member<'_>, of: &Superblock) -> Result<Arc<dyn Disk>> {
    let found = &member.superblock;
    let size = if level::is_redundant(of.level) { of.used_size } else { found.data_size };
    if size > found.data_size {
        return Err(corrupt!("MD superblock", found.at, "{size} bytes used of {} for data", found.data_size));
    }
    let data = View::new(member.disk.to_string(), member.disk.clone(), found.data_start, size)?;
    let mut bad = found.bad_ranges(&**member.disk).within("bad blocks")?;
    bad.extend(found.progress.map(|progress| progress..u64::MAX));
    Ok(if bad.is_empty() { Arc::new(data) } else { Arc::new(Patchy::new(Arc::new(data), bad)) })
}

/// The number that a name asks for: `0` and `box:0` are `/dev/md0`.
fn number_in(name: &str) -> Option<u32> {
    let own = name.rsplit(':').next()?;
    if !own.is_empty() && own.bytes().all(|digit| digit.is_ascii_digit()) { own.parse().ok() } else { None }
}
