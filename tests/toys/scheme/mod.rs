//! A toy scheme: disks that start with `toy` and a digit are, in the order of the digits, one volume.

use std::sync::Arc;

use images::disk::{Concat, Piece, View};
use images::{Budget, Disk, Result};
use partition::{Group, Member, Members, Name, Scheme, Volume};

pub const SCHEME: Scheme = Scheme {
    members: Some(Members { idle: Some("a toy alone"), groups: Some(groups), ..Members::new("toy_member") }),
    ..Scheme::new("toy", probe, volumes)
};

/// What is before the bytes of the volume.
const START: u64 = 512;

fn probe(disk: &dyn Disk) -> Result<bool> {
    Ok(digit(disk)?.is_some())
}

fn digit(disk: &dyn Disk) -> Result<Option<u8>> {
    let mut start = [0; 4];
    if disk.size() < START {
        return Ok(None);
    }
    disk.read_at(&mut start, 0)?;
    Ok(start.strip_prefix(b"toy").map(|digit| digit[0]))
}

fn volumes(members: &[Arc<dyn Disk>], _: &Budget) -> Result<Vec<Volume>> {
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_key(|at| digit(&*members[*at]).ok());
    let piece = |at: &usize| {
        let disk = members[*at].clone();
        View::new("a part of a toy", disk.clone(), START, disk.size() - START).map(Piece::View)
    };
    let disk = Concat::new("toys/whole", order.iter().map(piece).collect::<Result<Vec<_>>>()?)?;
    Ok(vec![Volume {
        name: Name::InGroup("toys".into(), "whole".into()),
        members: order,
        start: None,
        size: disk.size(),
        kind: "toy".into(),
        kind_id: None,
        label: None,
        uuid: None,
        frame: false,
        disk: Ok(Arc::new(disk)),
        mapped: None,
        shared_bytes: 0,
    }])
}

fn groups(members: &[Arc<dyn Disk>], _: &Budget) -> Vec<Group> {
    let member = |(index, disk): (usize, &Arc<dyn Disk>)| Member { index: Some(index), uuid: None, size: disk.size() };
    let members = members.iter().enumerate().map(member).collect();
    vec![Group { name: "toys".into(), uuid: String::new(), size: 0, free: 0, members }]
}
