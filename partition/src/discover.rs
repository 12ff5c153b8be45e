//! Which of some disks are cut into volumes, by which scheme, and into what.

use std::sync::Arc;

use images::{Budget, Disk, Error, Reservation, Result};

use crate::{Group, SCHEMES, Scheme, Volume};

/// The answer of [`discover`].
pub struct Discovery {
    /// For each disk that was given, in order: the scheme that it is a member of, `None` if it is of none, or why
    /// that cannot be told.
    pub schemes: Vec<Result<Option<&'static Scheme>>>,
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

/// Asks all schemes about all disks, and cuts the members of those that share volumes between disks, or of those that
/// do not. An error on one disk does not reach the others.
///
/// The two are apart because volume managers want all their members at once, also those on partitions: tables first.
///
/// This is one level: volumes can be members too, as a logical volume's physical volume on a partition is, so the
/// caller asks again with what is found, as deep as he sees fit. Partitions may overlap, so a small disk can be made to
/// hold very many at few levels: the caller bounds their number too. What they take in memory is taken from the budget.
pub fn discover(disks: &[Arc<dyn Disk>], shares: bool, budget: &Budget) -> Discovery {
    discover_with(disks, shares, SCHEMES, budget)
}

fn discover_with(disks: &[Arc<dyn Disk>], shares: bool, schemes: &'static [Scheme], budget: &Budget) -> Discovery {
    let asked: Vec<_> = disks.iter().map(|disk| scheme_of(disk, schemes, budget)).collect();
    let mut found: Vec<(&'static Scheme, Vec<usize>)> = Vec::new();
    for (index, scheme) in asked.iter().enumerate() {
        let Ok(Some(scheme)) = scheme else { continue };
        match found.iter_mut().find(|(other, _)| shares && std::ptr::eq(*other, *scheme)) {
            Some((_, members)) => members.push(index),
            None if scheme.shares == shares => found.push((scheme, vec![index])),
            None => (),
        }
    }
    let found = found.into_iter().map(|(scheme, members)| cut(disks, scheme, members, budget)).collect();
    Discovery { schemes: asked, found }
}

/// Whether what a disk looks like is part of what an array holds that it is a member of.
pub fn is_hidden(disk: &Arc<dyn Disk>, budget: &Budget) -> bool {
    let hides = |scheme: &Scheme| scheme.hides.is_some();
    // Most have no superblock, and the other schemes need not be asked.
    SCHEMES.iter().any(|scheme| hides(scheme) && (scheme.probe)(&**disk).unwrap_or(false))
        && matches!(scheme_of(disk, SCHEMES, budget), Ok(Some(scheme)) if hides(scheme))
}

/// The one scheme that this disk is a member of.
///
/// What hides its members' contents comes first, unless there is a table that it has no part in: a superblock at the end
/// of the last partition may look like one of the whole disk. A label of a volume manager on a disk that has a partition
/// table is what an earlier use left there: LVM takes no partitioned disk for a physical volume either. A probe that
/// cannot read, where another one can, decides nothing.
fn scheme_of(disk: &Arc<dyn Disk>, schemes: &'static [Scheme], budget: &Budget) -> Result<Option<&'static Scheme>> {
    let mut found: Vec<&'static Scheme> = Vec::new();
    let mut unread = None;
    for scheme in schemes {
        match (scheme.probe)(&**disk) {
            Err(error) => unread = unread.or(Some(error)),
            Ok(false) => {}
            Ok(true) => found.push(scheme),
        }
    }
    if let Some((scheme, hides)) = found.iter().find_map(|scheme| Some((*scheme, scheme.hides?))) {
        let tables = found.iter().filter(|other| !other.shares);
        let volumes = tables.filter_map(|table| (table.volumes)(std::slice::from_ref(disk), budget).ok());
        if hides(&**disk, &volumes.flatten().collect::<Vec<_>>()) {
            return Ok(Some(scheme));
        }
        found.retain(|other| !std::ptr::eq(*other, scheme));
    }
    let of_kind = |shares: bool| found.iter().copied().filter(move |scheme| scheme.shares == shares);
    for kind in [false, true] {
        if let [first, second, ..] = of_kind(kind).collect::<Vec<_>>()[..] {
            let (first, second) = (first.name, second.name);
            let why = format!("{disk} can be read as {first} and as {second}, and only one can be right");
            return Err(Error::Ambiguous(why));
        }
    }
    match (of_kind(false).next(), of_kind(true).next(), unread) {
        (Some(table), label, _) => {
            if let Some(label) = label {
                log::warn!("{disk}: a label of {} is passed over, for there is a {} table", label.name, table.name);
            }
            Ok(Some(table))
        }
        (None, None, Some(error)) => Err(error),
        (None, label, _) => Ok(label),
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
    let mut groups = if volumes.is_ok() { (scheme.groups)(&given, budget) } else { Vec::new() };
    for index in groups.iter_mut().flat_map(|group| &mut group.members).filter_map(|member| member.index.as_mut()) {
        *index = members[*index];
    }
    Found { scheme, members, volumes, groups, held }
}

#[cfg(test)]
mod tests {
    use images::disk::{Faulty, Memory};

    use super::*;
    use crate::Name;

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
            shared_bytes: 0,
        }])
    }

    static FAKES: &[Scheme] = &[
        Scheme {
            name: "table",
            shares: false,
            hides: None,
            probe: |disk| starts_with(disk, b't'),
            volumes: one_volume,
            groups: |_, _| Vec::new(),
        },
        Scheme {
            name: "group",
            shares: true,
            hides: None,
            probe: |disk| starts_with(disk, b'g'),
            volumes: one_volume,
            groups: |_, _| Vec::new(),
        },
        Scheme {
            name: "other",
            shares: false,
            hides: None,
            probe: |disk| starts_with(disk, b't'),
            volumes: one_volume,
            groups: |_, _| Vec::new(),
        },
    ];

    #[test]
    fn a_table_beats_the_label_below_it() {
        static BOTH: &[Scheme] = &[
            Scheme {
                name: "group",
                shares: true,
                hides: None,
                probe: |disk| starts_with(disk, b'b'),
                volumes: one_volume,
                groups: |_, _| Vec::new(),
            },
            Scheme {
                name: "table",
                shares: false,
                hides: None,
                probe: |disk| starts_with(disk, b'b'),
                volumes: one_volume,
                groups: |_, _| Vec::new(),
            },
            Scheme {
                name: "unread",
                shares: false,
                hides: None,
                probe: |_| Err(Error::NotFound),
                volumes: one_volume,
                groups: |_, _| Vec::new(),
            },
        ];
        let budget = Budget::default();
        let both: Arc<dyn Disk> = Arc::new(Memory::new("both", b"b".to_vec()));
        assert_eq!(scheme_of(&both, BOTH, &budget).unwrap().unwrap().name, "table");
        let neither: Arc<dyn Disk> = Arc::new(Memory::new("neither", b"n".to_vec()));
        assert!(scheme_of(&neither, BOTH, &budget).is_err(), "what could not be read may be the one");
        assert!(scheme_of(&neither, &BOTH[..2], &budget).unwrap().is_none());
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
