//! Which of some disks are cut into volumes, by which scheme, and into what.

use std::sync::Arc;

use images::disk::Cached;
use images::{Budget, Disk, Error, Reservation, Result};

use crate::schemes::SCHEMES;
use crate::{Group, Scheme, Volume};

/// How [`discover`] reads for probes, in bytes: whole pages, and no more of them are kept than all the probes together
/// touch.
const PROBE_PAGE: usize = 4096;
const PROBE_CACHE: u64 = 256 << 10;

/// The scheme that a disk is a member of, `None` if it is of none, or why that cannot be told.
pub type Claim = std::result::Result<Option<&'static Scheme>, Arc<Error>>;

/// The answer of [`discover`].
pub struct Discovery {
    /// What was said of each disk that was given, in order.
    pub schemes: Vec<Claim>,
    /// The tables, or the schemes whose volumes span disks, in the order of their first disks.
    pub found: Vec<Found>,
}

/// A partition table, or all members of a scheme whose volumes may span them.
pub struct Found {
    /// The scheme that cuts these disks.
    pub scheme: &'static Scheme,
    /// The disks, as indices of the slice that [`discover`] was given; one, if the scheme does not span disks.
    pub members: Vec<usize>,
    /// The volumes, or why the table cannot be read. Their members are indices of that same slice.
    pub volumes: Result<Vec<Volume>>,
    /// How the disks belong together. Their members are indices of that slice too.
    pub groups: Vec<Group>,
    /// What the volumes and groups take in memory; to be kept as long as they are.
    pub held: Reservation,
}

/// Asks all schemes about all disks, and cuts them: [`claim`] and [`divide`] in one.
pub fn discover(disks: &[Arc<dyn Disk>], shares: bool, budget: &Budget) -> Discovery {
    discover_with(disks, shares, SCHEMES, budget)
}

fn discover_with(disks: &[Arc<dyn Disk>], shares: bool, schemes: &'static [Scheme], budget: &Budget) -> Discovery {
    let ask = |disk: &Arc<dyn Disk>| {
        let cached: Arc<dyn Disk> = Arc::new(Cached::new(disk.clone(), PROBE_PAGE, PROBE_CACHE));
        claim(&cached, schemes, budget)
    };
    let schemes: Vec<_> = disks.iter().map(ask).collect();
    let found = divide(disks, &schemes, shares, budget);
    Discovery { schemes, found }
}

/// Cuts these disks, of which the claims are known, where their scheme shares volumes between disks, or where it does not.
/// An error on one disk does not reach the others.
///
/// The two are apart because volume managers want all their members at once, also those on partitions: tables first.
///
/// This is one level: volumes can be members too, as a logical volume's physical volume on a partition is, so the
/// caller asks again with what is found, as deep as he sees fit. Partitions may overlap, so a small disk can be made to
/// hold very many at few levels: the caller bounds their number too. What they take in memory is taken from the budget.
pub fn divide(disks: &[Arc<dyn Disk>], claims: &[Claim], shares: bool, budget: &Budget) -> Vec<Found> {
    let mut found: Vec<(&'static Scheme, Vec<usize>)> = Vec::new();
    for (index, scheme) in claims.iter().enumerate() {
        let Ok(Some(scheme)) = scheme else { continue };
        match found.iter_mut().find(|(other, _)| shares && std::ptr::eq(*other, *scheme)) {
            Some((_, members)) => members.push(index),
            None if scheme.shares() == shares => found.push((scheme, vec![index])),
            None => (),
        }
    }
    found.into_iter().map(|(scheme, members)| cut(disks, scheme, members, budget)).collect()
}

/// The one of these schemes that a disk is a member of. Each is asked once, and many look at the same few pages: give a
/// disk that keeps them.
///
/// Of partition tables the one of the highest precedence counts. What hides its members' contents comes first, unless
/// there is a table that it has no part in: a superblock at the end of the last partition may look like one of the whole
/// disk. A label of a volume manager on a disk that has a partition table is what an earlier use left there: LVM takes no
/// partitioned disk for a physical volume either. A probe that cannot read, where another one can, decides nothing, unless
/// its scheme would come first.
pub fn claim(disk: &Arc<dyn Disk>, schemes: &'static [Scheme], budget: &Budget) -> Claim {
    let mut found: Vec<&'static Scheme> = Vec::new();
    let mut unread: Option<(&'static Scheme, Error)> = None;
    for scheme in schemes {
        match (scheme.probe)(&**disk) {
            Ok(true) => found.push(scheme),
            Ok(false) => {}
            Err(error) => match &unread {
                Some((first, _)) if first.precedence >= scheme.precedence => {}
                _ => unread = Some((scheme, error)),
            },
        }
    }
    let highest = found.iter().filter(|scheme| !scheme.shares()).map(|scheme| scheme.precedence).max();
    found.retain(|scheme| scheme.shares() || Some(scheme.precedence) == highest);
    if let Some((scheme, hides)) = found.iter().find_map(|scheme| Some((*scheme, scheme.members?.hides?))) {
        let tables = found.iter().filter(|other| !other.shares());
        let volumes = tables.filter_map(|table| (table.volumes)(std::slice::from_ref(disk), budget).ok());
        if hides(&**disk, &volumes.flatten().collect::<Vec<_>>()) {
            return Ok(Some(scheme));
        }
        found.retain(|other| !std::ptr::eq(*other, scheme));
    }
    let table = only(&**disk, found.iter().copied().filter(|scheme| !scheme.shares()))?;
    let label = only(&**disk, found.iter().copied().filter(|scheme| scheme.shares()))?;
    match (table, unread) {
        (Some(table), Some((first, error))) if first.precedence > table.precedence => Err(Arc::new(error)),
        (Some(table), _) => {
            if let Some(label) = label {
                log::warn!("{disk}: a label of {} is passed over, for there is a {} table", label.name, table.name);
            }
            Ok(Some(table))
        }
        (None, Some((_, error))) if label.is_none() => Err(Arc::new(error)),
        (None, _) => Ok(label),
    }
}

/// The only one of these, or none.
fn only(disk: &dyn Disk, mut found: impl Iterator<Item = &'static Scheme>) -> Claim {
    match (found.next(), found.next()) {
        (Some(first), Some(second)) => {
            let (first, second) = (first.name, second.name);
            let why = format!("{disk} can be read as {first} and as {second}, and only one can be right");
            Err(Arc::new(Error::Ambiguous(why)))
        }
        (first, _) => Ok(first),
    }
}

fn cut(disks: &[Arc<dyn Disk>], scheme: &'static Scheme, members: Vec<usize>, budget: &Budget) -> Found {
    let given: Vec<_> = members.iter().map(|index| disks[*index].clone()).collect();
    let mut held = budget.empty();
    let volumes = (scheme.volumes)(&given, budget).and_then(|mut volumes| {
        let bytes = volumes.iter().map(Volume::bytes).sum();
        held.grow(bytes, format_args!("{}: a list of {} {} volumes", given[0], volumes.len(), scheme.name))?;
        for member in volumes.iter_mut().flat_map(|volume| &mut volume.members) {
            *member = members[*member];
        }
        Ok(volumes)
    });
    let groups = scheme.members.and_then(|members| members.groups).filter(|_| volumes.is_ok());
    let mut groups = groups.map(|groups| groups(&given, budget)).unwrap_or_default();
    for index in groups.iter_mut().flat_map(|group| &mut group.members).filter_map(|member| member.index.as_mut()) {
        *index = members[*index];
    }
    Found { scheme, members, volumes, groups, held }
}

#[cfg(test)]
mod tests {
    use images::disk::{Faulty, Memory};

    use super::*;
    use crate::{Members, Name};

    fn starts_with(disk: &dyn Disk, wanted: u8) -> Result<bool> {
        let mut byte = [0];
        disk.read_at(&mut byte, 0)?;
        Ok(byte == [wanted])
    }

    fn one_volume(members: &[Arc<dyn Disk>], _: &Budget) -> Result<Vec<Volume>> {
        if members.iter().any(|disk| disk.size() == 1) {
            return Err(Error::Unknown("too small".into()));
        }
        Ok(vec![Volume {
            name: Name::Number(1),
            members: (0..members.len()).rev().collect(),
            start: None,
            size: 0,
            kind: "whole".into(),
            kind_id: None,
            label: None,
            uuid: None,
            frame: false,
            disk: Ok(members[0].clone()),
            mapped: None,
            shared_bytes: 0,
        }])
    }

    const fn table(name: &'static str, probe: fn(&dyn Disk) -> Result<bool>) -> Scheme {
        Scheme::new(name, probe, one_volume)
    }

    const fn group(name: &'static str, probe: fn(&dyn Disk) -> Result<bool>) -> Scheme {
        Scheme { members: Some(Members::new("group_member")), ..table(name, probe) }
    }

    static FAKES: &[Scheme] = &[
        table("table", |disk| starts_with(disk, b't')),
        group("group", |disk| starts_with(disk, b'g')),
        table("other", |disk| starts_with(disk, b't')),
    ];

    #[test]
    fn a_table_beats_the_label_below_it() {
        static BOTH: &[Scheme] = &[
            group("group", |disk| starts_with(disk, b'b')),
            table("table", |disk| starts_with(disk, b'b')),
            table("unread", |_| Err(Error::NotFound)),
        ];
        let budget = Budget::default();
        let both: Arc<dyn Disk> = Arc::new(Memory::new("both", b"b".to_vec()));
        assert_eq!(claim(&both, BOTH, &budget).unwrap().unwrap().name, "table");
        let neither: Arc<dyn Disk> = Arc::new(Memory::new("neither", b"n".to_vec()));
        assert!(claim(&neither, BOTH, &budget).is_err(), "what could not be read may be the one");
        assert!(claim(&neither, &BOTH[..2], &budget).unwrap().is_none());
    }

    #[test]
    fn of_two_tables_the_precedence_decides() {
        const fn before(scheme: Scheme) -> Scheme {
            Scheme { precedence: 1, ..scheme }
        }
        static OF_ONE: &[Scheme] =
            &[table("inner", |disk| starts_with(disk, b't')), before(table("outer", |disk| starts_with(disk, b't')))];
        static UNREAD: &[Scheme] =
            &[table("inner", |disk| starts_with(disk, b't')), before(table("outer", |_| Err(Error::NotFound)))];
        let budget = Budget::default();
        let disk: Arc<dyn Disk> = Arc::new(Memory::new("disk", b"t".to_vec()));
        assert_eq!(claim(&disk, OF_ONE, &budget).unwrap().unwrap().name, "outer");
        assert_eq!(claim(&disk, &OF_ONE[..1], &budget).unwrap().unwrap().name, "inner");
        assert!(claim(&disk, UNREAD, &budget).is_err(), "what comes first may be there");
    }

    #[test]
    fn a_bad_disk_harms_no_other() {
        let disk = |text: &str| -> Arc<dyn Disk> { Arc::new(Memory::new(text, text.as_bytes().to_vec())) };
        let bad: Arc<dyn Disk> = Arc::new(Faulty::new(disk("tx"), std::iter::once(0..1).collect()));
        let budget = Budget::default();
        let disks = [disk("gx"), disk("t1"), bad, disk("none"), disk("gy"), disk("t")];
        let answer = discover_with(&disks, false, &FAKES[..2], &budget);
        let names: Vec<_> = answer.schemes.iter().map(|s| s.as_ref().ok().map(|s| s.map(|s| s.name))).collect();
        let want =
            [Some(Some("group")), Some(Some("table")), None, Some(None), Some(Some("group")), Some(Some("table"))];
        assert_eq!(names, want);
        let members = |found: &Found| {
            let members = found.volumes.as_ref().map(|volumes| volumes[0].members.clone());
            (found.scheme.name, found.members.clone(), members.map_err(ToString::to_string))
        };
        let tables: Vec<_> = answer.found.iter().map(members).collect();
        assert_eq!(tables, [("table", vec![1], Ok(vec![1])), ("table", vec![5], Err("too small".into()))]);
        let answer = discover_with(&disks, true, &FAKES[..2], &budget);
        let groups: Vec<_> = answer.found.iter().map(members).collect();
        assert_eq!(groups, [("group", vec![0, 4], Ok(vec![4, 0]))]);
        let error = discover_with(&disks[1..2], true, FAKES, &budget).schemes.remove(0).err().unwrap().to_string();
        assert_eq!(error, "t1 can be read as table and as other, and only one can be right");
        assert!(discover(&[], true, &budget).found.is_empty());
        assert!(discover(&[disk("")], false, &budget).schemes[0].as_ref().unwrap().is_none(), "an empty disk");
    }

    #[test]
    fn what_does_not_fit_in_the_budget_is_an_error_of_its_own() {
        let disk = |text: &str| -> Arc<dyn Disk> { Arc::new(Memory::new(text, text.as_bytes().to_vec())) };
        let budget = Budget::new(size_of::<Volume>() as u64 * 3 / 2 + 512);
        let mut answer = discover_with(&[disk("t1"), disk("t2")], false, &FAKES[..2], &budget);
        let second = answer.found.pop().unwrap().volumes.err().unwrap().to_string();
        assert!(second.starts_with("t2: a list of 1 table volumes would take"), "{second}");
        assert!(answer.found[0].volumes.is_ok() && budget.free() < budget.limit());
        drop(answer);
        assert_eq!(budget.free(), budget.limit());
    }
}
