//! Internal snapshots: the table, and the one that was asked for.

use super::header::{Header, L1Table};
use super::layout::*;
use crate::disk::Cached;
use crate::{Disk, Error, Result, corrupt, structure};

/// Our limit of the snapshots that an error message lists.
const MAX_LISTED: usize = 20;

/// One internal snapshot.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The identifier, unique in the image; QEMU counts from 1.
    pub id: String,
    /// The name, which need not be unique.
    pub name: String,
    /// Where its mapping starts.
    pub l1: L1Table,
    /// The size of the virtual disk in bytes when the snapshot was taken.
    pub size: u64,
    /// When it was taken: seconds since 1970 in UTC, and nanoseconds.
    pub date: (u32, u32),
    /// How long the guest had run, in nanoseconds.
    pub vm_clock: u64,
    /// The size of the saved machine state in bytes; 0 if only the disk was saved.
    pub vm_state_size: u64,
    /// How many instructions the guest had executed, where that was counted.
    pub icount: Option<u64>,
    /// Where its entry lies in the file, in bytes.
    at: u64,
}

/// Calls `each` with every snapshot in the order of the table, until it answers `false`.
pub fn for_each(file: &Cached, header: &Header, mut each: impl FnMut(Snapshot) -> bool) -> Result<()> {
    let start = header.snapshots_offset;
    if header.snapshots > 0 && !start.is_multiple_of(1 << header.cluster_bits) {
        return Err(corrupt!("snapshot table", start, "does not start at a multiple of the cluster size"));
    }
    let mut at = start;
    for _ in 0..header.snapshots {
        if at - start > MAX_SNAPSHOT_TABLE {
            return Err(corrupt!("snapshot table", start, "longer than {MAX_SNAPSHOT_TABLE} bytes"));
        }
        let raw: SnapshotEntry = structure::read(file, "snapshot table entry", at)?;
        let extra_len = raw.extra_data_size.get();
        if extra_len > MAX_SNAPSHOT_EXTRA {
            return Err(corrupt!(
                "snapshot table entry",
                at,
                "{extra_len} bytes of extra data, {MAX_SNAPSHOT_EXTRA} is the most"
            ));
        }
        // `read` checked that `at` and what precedes it lie inside the file, so these sums stay far below 2^64.
        let extra_at = at + size_of::<SnapshotEntry>() as u64;
        let id_at = extra_at + u64::from(extra_len);
        let name_at = id_at + u64::from(raw.id_size.get());
        let end = name_at + u64::from(raw.name_size.get());
        let extra = |offset: usize| {
            if (extra_len as usize) < offset + size_of::<u64>() {
                return Ok::<_, Error>(None);
            }
            let number = structure::read(file, "snapshot extra data", extra_at + offset as u64)?;
            Ok(Some(u64::from_be_bytes(number)))
        };
        let size = extra(SNAPSHOT_EXTRA_DISK_SIZE)?.unwrap_or(header.size);
        let vm_state_size = extra(SNAPSHOT_EXTRA_VM_STATE_SIZE)?.unwrap_or(raw.vm_state_size.get().into());
        let icount = extra(SNAPSHOT_EXTRA_ICOUNT)?.filter(|&count| count != NO_ICOUNT);
        let text = |at, len: u16| {
            let mut bytes = vec![0; len.into()];
            structure::fill(file, "snapshot name", &mut bytes, at)?;
            Ok::<_, Error>(String::from_utf8_lossy(&bytes).into_owned())
        };
        let snapshot = Snapshot {
            id: text(id_at, raw.id_size.get())?,
            name: text(name_at, raw.name_size.get())?,
            l1: L1Table { offset: raw.l1_table_offset.get(), entries: raw.l1_size.get() },
            size,
            date: (raw.date_sec.get(), raw.date_nsec.get()),
            vm_clock: raw.vm_clock_nsec.get(),
            vm_state_size,
            icount,
            at,
        };
        if !each(snapshot) {
            break;
        }
        at = end.next_multiple_of(8);
    }
    Ok(())
}

/// The snapshot with this id, else the one with this name, checked. Fails with `Unknown`, which lists what there is,
/// and with `Ambiguous` if several have the name.
pub fn find(file: &Cached, header: &Header, wanted: &str) -> Result<Snapshot> {
    let (mut by_id, mut by_name): (Option<Snapshot>, Vec<Snapshot>) = (None, Vec::new());
    let mut listed = Vec::new();
    for_each(file, header, |snapshot| {
        if listed.len() < MAX_LISTED {
            listed.push(format!("{:?} (id {:?})", snapshot.name, snapshot.id));
        }
        if snapshot.id == wanted {
            by_id = Some(snapshot);
        } else if snapshot.name == wanted && by_name.len() < MAX_LISTED {
            by_name.push(snapshot);
        }
        by_id.is_none()
    })?;
    let found = match (by_id, by_name.as_slice()) {
        (Some(snapshot), _) => snapshot,
        (None, [snapshot]) => snapshot.clone(),
        (None, []) if listed.is_empty() => {
            return Err(Error::Unknown(format!("no snapshot {wanted:?}: the image has no internal snapshots")));
        }
        (None, []) => {
            let more = if header.snapshots as usize > listed.len() { ", ..." } else { "" };
            return Err(Error::Unknown(format!("no snapshot {wanted:?}: there are {}{more}", listed.join(", "))));
        }
        (None, several) => {
            let ids: Vec<_> = several.iter().map(|snapshot| snapshot.id.as_str()).collect();
            return Err(Error::Ambiguous(format!(
                "several snapshots are named {wanted:?}, choose one by its id: {}",
                ids.join(", ")
            )));
        }
    };
    found.l1.check(found.size, header.cluster_bits, header.extended_l2, file.size(), found.at)?;
    Ok(found)
}
