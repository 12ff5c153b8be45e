//! Which operating systems are in the images: guestmount's `-i`, with its documented gaps closed.

mod architecture;
mod crypttab;
mod distribution;
mod fstab;
mod guest;
mod mdadm_conf;
mod role;
mod spec;
mod tree;

use images::{Error, Result};

pub use distribution::Distribution;
pub use guest::Guest;
pub use role::System;

use crate::stack::{Device, Level, Stack, some};
use role::Role;

/// All guests in the images, in the order of their root devices.
pub fn guests(stack: &Stack) -> Result<Vec<Guest>> {
    let roles = guest::roles(stack);
    let roots = roles.iter().filter_map(|(at, role)| match role {
        Role::Root(system) => Some((*at, *system)),
        _ => None,
    });
    roots.map(|(at, system)| Guest::new(stack, at, system, &roles)).collect()
}

/// The one guest that `-i` mounts: the only one, or the one whose root is the device called `wanted`.
pub fn guest(stack: &Stack, wanted: Option<&str>) -> Result<Guest> {
    let mut guests = guests(stack)?;
    let list = |guests: &[Guest]| {
        let line = |guest: &Guest| {
            let name = guest.distribution.product_name.as_deref().unwrap_or(guest.system.name());
            format!("{} ({name})", stack.devices[guest.root].name)
        };
        guests.iter().map(line).collect::<Vec<_>>().join(", ")
    };
    if let Some(wanted) = wanted {
        let at = stack.find(wanted);
        return match guests.iter().position(|guest| Some(guest.root) == at) {
            Some(index) => Ok(guests.swap_remove(index)),
            None if guests.is_empty() => Err(nothing(stack)),
            None => Err(Error::Unknown(format!("--root {wanted}: no system there; there is {}", list(&guests)))),
        };
    }
    match guests.len() {
        0 => Err(nothing(stack)),
        1 => Ok(guests.swap_remove(0)),
        _ => {
            let text = format!("several systems are in the images: {}; choose one with --root DEVICE", list(&guests));
            Err(Error::Ambiguous(text))
        }
    }
}

fn nothing(stack: &Stack) -> Error {
    let name = |at: usize| {
        let device = &stack.devices[at];
        match (&device.level, &device.disk) {
            // What it lacks is for the user to add.
            (Level::Array(_), Err(why)) => format!("{} ({why})", device.name),
            _ => format!("{} ({})", device.name, device.contents_name()),
        }
    };
    let there = Some(some(stack.file_systems().map(name))).filter(|there| !there.is_empty());
    let there = there.as_deref().unwrap_or("no file system");
    let locked = some(stack.devices.iter().filter_map(Device::locked));
    let locked = if locked.is_empty() { locked } else { format!("; {locked}") };
    Error::Unknown(format!(
        "no operating system was found in the images; there is {there}; mount one with -m DEVICE{locked}"
    ))
}
