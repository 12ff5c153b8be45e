//! The members of one array: who has which place, who is left out and why, and the disk that the rest makes.

use std::sync::Arc;

use images::disk::View;
use images::{Disk, Error, Result, ResultExt, corrupt, unsupported};

use super::bad_ranges::WithBadRanges;
use super::layout::MAX_DISKS_1;
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

/// A member that is used, and its data.
struct Place<'m> {
    index: usize,
    superblock: &'m Superblock,
    leg: Arc<dyn Disk>,
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
            mapped: None,
            shared_bytes: 0,
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
        let in_sync = places.iter().flatten().filter(|place| place.superblock.progress.is_none()).count();
        let mut used: Vec<usize> = places.iter().flatten().map(|place| place.index).collect();
        used.sort_unstable();
        let disk = self.check(of, count - in_sync).and_then(|()| self.open(of, &places));
        if disk.is_err() || used.is_empty() {
            used = all();
        }
        Assembly { disk, in_sync, used }
    }

    /// By place, the member that has it. Those that are left out are named.
    fn places(&self, count: usize) -> Result<Vec<Option<Place<'_>>>> {
        let label = self.label();
        let newest = &self.newest().superblock;
        let mut places: Vec<Option<Place<'_>>> = (0..count).map(|_| None).collect();
        for Member { index, disk, superblock } in &self.members {
            let leave_out = |why: String| log::warn!("{label}: {disk} is left out: {why}");
            let number = match superblock.role() {
                Role::Active(number) => number,
                Role::Faulty => {
                    leave_out("it was marked as faulty".to_owned());
                    continue;
                }
                Role::Spare | Role::Journal => continue,
            };
            let leg = match up_to_date(superblock, newest).and_then(|()| leg(disk, superblock, newest)) {
                Ok(leg) => leg,
                Err(why) => {
                    leave_out(why.to_string());
                    continue;
                }
            };
            // Within bounds: any other number makes a spare.
            let Some(taken) = places.get_mut(number as usize) else { continue };
            let place = Place { index: *index, superblock, leg };
            *taken = match taken.take() {
                None => Some(place),
                // Both are there until the one has replaced the other.
                Some(other) if other.superblock.is_replacement != superblock.is_replacement => {
                    Some(if superblock.is_replacement { other } else { place })
                }
                Some(other) => {
                    return Err(Error::Ambiguous(format!(
                        "{label}: {} and {disk} both claim to be member {number}, give only one of them",
                        other.leg
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

    fn open(&self, of: &Superblock, places: &[Option<Place<'_>>]) -> Result<Arc<dyn Disk>> {
        let label = self.label();
        let is_recovered = |place: &&Place<'_>| place.superblock.progress.is_none();
        let legs = |place: &Option<Place<'_>>| place.as_ref().filter(is_recovered).map(|place| place.leg.clone());
        let opened = level::open(&label, of, places.iter().map(legs).collect())?;
        // A member that is being recovered is worth something only where the array can do without it.
        if places.iter().flatten().all(|place| is_recovered(&place)) {
            return Ok(opened);
        }
        let legs = |place: &Option<Place<'_>>| place.as_ref().map(|place| place.leg.clone());
        level::open(&label, of, places.iter().map(legs).collect())
    }
}

/// Fails if a member that has a place is not to be trusted: `newest` knows better.
fn up_to_date(found: &Superblock, newest: &Superblock) -> Result<()> {
    let same = |other: &Superblock| (other.level, other.layout, other.chunk, other.raid_disks, other.used_size);
    let why = match newest.role_of(found.number) {
        _ if found.events.saturating_add(MAX_EVENTS_BEHIND) < newest.events => {
            format!("it is behind, at event {} of {}", found.events, newest.events)
        }
        _ if same(found) != same(newest) => "its superblock describes another array of the same UUID".to_owned(),
        role if role == found.role() => return Ok(()),
        Role::Faulty => "the other members say that it failed".to_owned(),
        _ => "the other members do not count it any more".to_owned(),
    };
    Err(Error::Unknown(why))
}

/// The bytes of a member that belong to the array.
fn leg(disk: &Arc<dyn Disk>, found: &Superblock, newest: &Superblock) -> Result<Arc<dyn Disk>> {
    let size = if level::is_redundant(newest.level) { newest.used_size } else { found.data_size };
    if size > found.data_size {
        return Err(corrupt!("MD superblock", found.at, "{size} bytes used of {} for data", found.data_size));
    }
    let data = View::new(disk.to_string(), disk.clone(), found.data_start, size)?;
    let mut bad = found.bad_ranges(&**disk).within("bad blocks")?;
    bad.extend(found.progress.map(|progress| progress..u64::MAX));
    Ok(if bad.is_empty() { Arc::new(data) } else { Arc::new(WithBadRanges::new(Arc::new(data), bad)) })
}

/// The number that a name asks for: `0` and `box:0` are `/dev/md0`.
fn number_in(name: &str) -> Option<u32> {
    let own = name.rsplit(':').next()?;
    if !own.is_empty() && own.bytes().all(|digit| digit.is_ascii_digit()) { own.parse().ok() } else { None }
}
