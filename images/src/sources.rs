//! The table of sources: a line for each.

use crate::source::Source;

/// Every source of images beside the files of the host. The scheme of an address chooses.
pub static SOURCES: &[Source] = &[];
