//! What each file system in the images is for.

use std::sync::Arc;

use filesystems::FileSystem;
use images::Error;

use super::effort::Effort;
use super::role::{Role, System, role};
use super::tree::Tree;
use crate::stack::{Contents, Stack};

/// How many file systems stay open because they belong to a guest; ours. More are opened again when they are wanted.
const MOST_KEPT: usize = 64;

/// A file system that was opened.
pub struct Surveyed {
    /// Its device.
    pub at: usize,
    /// How many bytes are in use, or why that is not known.
    pub used: Result<u64, String>,
}

/// All file systems in the images, each opened once.
pub struct Survey {
    /// Those that were opened.
    pub volumes: Vec<Surveyed>,
    /// The device and role of everything that belongs to some guest.
    pub roles: Vec<(usize, Role)>,
    /// Journals are replayed once: what belongs to a guest stays open.
    _open: Vec<Arc<dyn FileSystem>>,
}

impl Survey {
    /// Opens them. Those that cannot be opened are passed over with a line in the log.
    pub fn of(stack: &Stack) -> Self {
        let effort = Effort::new("what the file systems are for");
        let (mut volumes, mut roles, mut open) = (Vec::new(), Vec::new(), Vec::new());
        let known = stack.file_systems().filter(|&at| matches!(stack.devices[at].contents, Contents::Known(..)));
        for at in known {
            if !effort.opens() {
                break;
            }
            let used = match stack.open(at) {
                Ok(fs) => {
                    if let Some(role) = role(&Tree::new(&*fs, &effort)) {
                        roles.push((at, role));
                        if open.len() < MOST_KEPT {
                            open.push(fs.clone());
                        }
                    }
                    let space = fs.space(fs.root()).map_err(|error| error.to_string());
                    space.map(|of| of.blocks.saturating_sub(of.blocks_free).saturating_mul(of.block_size.into()))
                }
                Err(error) => {
                    match error.root() {
                        Error::Unsupported(_) => log::debug!("inspection passes over {error}"),
                        _ => log::warn!("inspection passes over {error}"),
                    }
                    Err(error.to_string())
                }
            };
            volumes.push(Surveyed { at, used });
        }
        Self { volumes, roles, _open: open }
    }

    /// The root devices of operating systems.
    pub fn roots(&self) -> impl Iterator<Item = (usize, System)> {
        self.roles.iter().filter_map(|(at, role)| match role {
            Role::Root(system) => Some((*at, *system)),
            _ => None,
        })
    }
}
