//! The leaves that devices are made by.

use filesystems::{DRIVERS, Driver};
use images::crypt::{CONTAINERS, Container};
use partition::{SCHEMES, Scheme};

/// One table a kind.
#[derive(Clone, Copy)]
pub struct Tables {
    /// What cuts devices into volumes.
    pub schemes: &'static [Scheme],
    /// What encrypted volumes there are.
    pub containers: &'static [Container],
    /// What makes trees of what is left.
    pub drivers: &'static [Driver],
}

impl Default for Tables {
    fn default() -> Self {
        Self { schemes: SCHEMES, containers: CONTAINERS, drivers: DRIVERS }
    }
}
