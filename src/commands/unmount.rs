//! `imgmount unmount`: takes a mount away.

use crate::cli::Unmount;
use crate::unmount;

/// Unmounts. The value is the exit status.
pub fn run(options: &Unmount) -> u8 {
    let Unmount { directory, fd, quiet, verbose, .. } = options;
    let retries = if options.no_retry { 0 } else { options.retry };
    unmount::run(&unmount::Request { directory: directory.clone(), fd: *fd, quiet: *quiet, verbose: *verbose, retries })
}
