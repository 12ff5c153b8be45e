//! The kernel's door to file systems in user space.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};

use crate::mount::is_root;

/// Udev lets everybody open it; where none ran it is root's alone.
const DEVICE: &str = "/dev/fuse";

/// Sees to it that this user may open the device, and others too where they are to mount.
pub fn ensure(others: bool) -> Result<()> {
    let metadata = fs::metadata(DEVICE).with_context(|| format!("{DEVICE}: as root, `modprobe fuse` makes it"))?;
    if is_root() {
        if others && metadata.permissions().mode() & 0o006 != 0o006 {
            println!("{DEVICE} is closed to ordinary users, who mount too: chmod 666 {DEVICE}");
            fs::set_permissions(DEVICE, Permissions::from_mode(0o666)).context(DEVICE)?;
        }
        return Ok(());
    }
    let opened = File::options().read(true).write(true).open(DEVICE);
    opened.map(drop).with_context(|| format!("{DEVICE} is closed to this user: sudo chmod 666 {DEVICE}"))
}
