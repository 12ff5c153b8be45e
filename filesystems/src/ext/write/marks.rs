//! What the superblock says of a file system while it is written.

use std::time::SystemTime;

use images::{DiskMut, Result};
use zerocopy::{FromBytes, IntoBytes};

use crate::ext::features::{compat, incompat, ro_compat};
use crate::ext::layout::{SUPERBLOCK_OFFSET, SuperBlock};
use crate::ext::volume::Volume;

/// `s_state`: it was unmounted, or has a journal.
const STATE_VALID: u16 = 1;

/// Says that it is being written: that its journal is to be replayed, or, where it has none, that it is to be checked.
pub(super) fn begin(raw: &mut SuperBlock) {
    let (low, high) = now();
    (raw.s_mtime, raw.s_mtime_hi) = (low.into(), high);
    raw.s_mnt_count = raw.s_mnt_count.get().saturating_add(1).into();
    if raw.s_feature_compat.get() & compat::HAS_JOURNAL != 0 {
        raw.s_feature_incompat = (raw.s_feature_incompat.get() | incompat::RECOVER).into();
    } else {
        set_dirty(raw);
    }
    if raw.s_feature_compat.get() & compat::ORPHAN_FILE != 0 {
        raw.s_feature_ro_compat = (raw.s_feature_ro_compat.get() | ro_compat::ORPHAN_PRESENT).into();
    }
}

/// Whether it was unmounted, or needed no unmount.
pub(super) fn is_clean(raw: &SuperBlock) -> bool {
    raw.s_state.get() & STATE_VALID != 0
}

/// Says that it is to be checked.
pub(super) fn set_dirty(raw: &mut SuperBlock) {
    raw.s_state = (raw.s_state.get() & !STATE_VALID).into();
}

/// Says that it is not written any more, and as clean as `state`, which is `s_state` of before.
pub(super) fn end(state: u16, raw: &mut SuperBlock, has_orphans: bool) {
    raw.s_feature_incompat = (raw.s_feature_incompat.get() & !incompat::RECOVER).into();
    raw.s_state = (raw.s_state.get() | state & STATE_VALID).into();
    if !has_orphans {
        raw.s_feature_ro_compat = (raw.s_feature_ro_compat.get() & !ro_compat::ORPHAN_PRESENT).into();
    }
}

/// Changes the superblock on the disk, past the journal.
pub(super) fn write(volume: &Volume, writer: &dyn DiskMut, edit: impl FnOnce(&mut SuperBlock)) -> Result<()> {
    let mut bytes = [0; size_of::<SuperBlock>()];
    volume.disk().read_at(&mut bytes, SUPERBLOCK_OFFSET)?;
    let mut raw = SuperBlock::read_from_bytes(&bytes).expect("as many bytes as it has");
    edit(&mut raw);
    stamp(&mut raw);
    volume.superblock().seal(&mut raw);
    writer.write_at(raw.as_bytes(), SUPERBLOCK_OFFSET)
}

/// Sets the time at which it is written.
fn stamp(raw: &mut SuperBlock) {
    let (low, high) = now();
    (raw.s_wtime, raw.s_wtime_hi) = (low.into(), high);
}

/// The present: the lower 32 bits of the seconds, and eight more.
fn now() -> (u32, u8) {
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let [.., high, a, b, c, d] = seconds.to_be_bytes();
    (u32::from_be_bytes([a, b, c, d]), high)
}
