//! How many reads a read of a volume takes. Volumes that lie on each other multiply it: nine members that are read for one
//! that is missing, and nine for each of those. What is beyond all real stacks is refused when the volume is opened.

use images::{Result, unsupported};

/// The most reads of images that a read of one volume may take. Ours: twice what a RAID 6 of 255 members takes, the largest
/// that there can be, if none of its members can be trusted.
pub const MAX: u64 = 1024;

/// `reads`, if the volume `name` may take so many.
pub fn bounded(name: &str, reads: u64) -> Result<u64> {
    if reads > MAX {
        return Err(unsupported!(
            "{name}: lies on other volumes in such a way that one read of it may take {reads} reads of the images, want at \
             most {MAX}"
        ));
    }
    Ok(reads)
}
