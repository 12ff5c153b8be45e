//! Which of some disks are cut into volumes, by which scheme, and into what.

use std::sync::Arc;

use images::{Disk, Error, Result};

use crate::{SCHEMES, Scheme, Volume};

/// The answer of [`discover`].
pub struct Discovery {
    /// For each disk that was given, in order: the scheme that it is a member of, `None` if it is of none, or why
    /// that cannot be told.
    pub schemes: Vec<Result<Option<&'static Scheme>>>,
    /// The tables and volume groups: those of one disk in the order of the disks, or those that span disks.
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
}

/// Asks all schemes about all disks, and cuts the members of those that share volumes between disks, or of those that
/// do not. An error on one disk does not reach the others.
///
/// The two are apart because volume managers want all their members at once, also those on partitions: tables first.
///
/// This is one level: volumes can be members too, as a logical volume's physical volume on a partition is, so the
/// caller asks again with what is found, as deep as he sees fit. Partitions may overlap, so a small disk can be made to
/// hold very many at few levels: the caller bounds their number too.
pub fn discover(disks: &[Arc<dyn Disk>], shares: bool) -> Discovery {
    discover_with(disks, shares, SCHEMES)
}

fn discover_with(disks: &[Arc<dyn Disk>], shares: bool, schemes: &'static [Scheme]) -> Discovery {
    let asked: Vec<_> = disks.iter().map(|disk| scheme_of(&**disk, schemes)).collect();
    let index_is_of = |index: &usize, scheme: &Scheme| match asked.get(*index) {
        Some(Ok(Some(found))) => std::ptr::eq(*found, scheme),
        _ => false,
    };
    let alone = asked.iter().enumerate().filter_map(|(index, scheme)| match scheme {
        Ok(Some(scheme)) if !scheme.shares => Some((*scheme, vec![index])),
        _ => None,
    });
    let together = schemes.iter().filter(|scheme| scheme.shares).filter_map(|scheme| {
        let members: Vec<usize> = (0..disks.len()).filter(|index| index_is_of(index, scheme)).collect();
        (!members.is_empty()).then_some((scheme, members))
    });
    let chosen = alone.chain(together).filter(|(scheme, _)| scheme.shares == shares);
    let found = chosen.map(|(scheme, members)| cut(disks, scheme, members)).collect();
    Discovery { schemes: asked, found }
}

/// The one scheme that this disk is a member of.
fn scheme_of(disk: &dyn Disk, schemes: &'static [Scheme]) -> Result<Option<&'static Scheme>> {
    let mut found: Option<&Scheme> = None;
    for scheme in schemes {
        if (scheme.probe)(disk)? {
            if let Some(first) = found {
                return Err(Error::Ambiguous(format!(
                    "{disk} can be read as {} and as {}, and only one can be right",
                    first.name, scheme.name
                )));
            }
            found = Some(scheme);
        }
    }
    Ok(found)
}

fn cut(disks: &[Arc<dyn Disk>], scheme: &'static Scheme, members: Vec<usize>) -> Found {
    let given: Vec<_> = members.iter().map(|index| disks[*index].clone()).collect();
    let volumes = (scheme.volumes)(&given).map(|mut volumes| {
        for member in volumes.iter_mut().flat_map(|volume| &mut volume.members) {
            *member = members[*member];
        }
        volumes
    });
    Found { scheme, members, volumes }
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

    fn one_volume(members: &[Arc<dyn Disk>]) -> Result<Vec<Volume>> {
        if members.iter().any(|disk| disk.size() == 1) {
            return Err(Error::Unknown("too small".into()));
        }
        Ok(vec![Volume {
            name: Name::Number(1),
            members: (0..members.len()).rev().collect(),
            size: 0,
            kind: "whole".into(),
            kind_id: None,
            label: None,
            uuid: None,
            disk: Ok(members[0].clone()),
        }])
    }

    static FAKES: &[Scheme] = &[
        Scheme { name: "table", shares: false, probe: |disk| starts_with(disk, b't'), volumes: one_volume },
        Scheme { name: "group", shares: true, probe: |disk| starts_with(disk, b'g'), volumes: one_volume },
        Scheme { name: "other", shares: false, probe: |disk| starts_with(disk, b'g'), volumes: one_volume },
    ];

    #[test]
    fn a_bad_disk_harms_no_other() {
        let disk = |text: &str| -> Arc<dyn Disk> { Arc::new(Memory::new(text, text.as_bytes().to_vec())) };
        let bad: Arc<dyn Disk> = Arc::new(Faulty::new(disk("tx"), std::iter::once(0..1).collect()));
        let disks = [disk("gx"), disk("t1"), bad, disk("none"), disk("gy"), disk("t")];
        let mut answer = discover_with(&disks, false, &FAKES[..2]);
        answer.found.extend(discover_with(&disks, true, &FAKES[..2]).found);
        let names: Vec<_> = answer.schemes.iter().map(|s| s.as_ref().ok().map(|s| s.map(|s| s.name))).collect();
        let want =
            [Some(Some("group")), Some(Some("table")), None, Some(None), Some(Some("group")), Some(Some("table"))];
        assert_eq!(names, want);
        let found: Vec<_> = answer
            .found
            .iter()
            .map(|found| {
                let members = found.volumes.as_ref().map(|volumes| volumes[0].members.clone());
                (found.scheme.name, found.members.clone(), members.map_err(ToString::to_string))
            })
            .collect();
        assert_eq!(
            found,
            [
                ("table", vec![1], Ok(vec![1])),
                ("table", vec![5], Err("too small".into())),
                ("group", vec![0, 4], Ok(vec![4, 0])),
            ]
        );
        let error = discover_with(&disks[..1], false, FAKES).schemes.remove(0).err().unwrap().to_string();
        assert_eq!(error, "gx can be read as group and as other, and only one can be right");
        assert!(discover(&[], false).found.is_empty());
        assert!(discover(&[disk("")], false).schemes[0].as_ref().unwrap().is_none(), "an empty disk");
    }
}
