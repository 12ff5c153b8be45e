//! Which operating systems are in the images: guestmount's `-i`, with its documented gaps closed.

mod architecture;
mod crypttab;
mod distribution;
mod effort;
mod fstab;
mod fstab_device;
mod guest;
mod mdadm_conf;
mod role;
mod survey;
mod tags;
mod tree;

use filesystems::view::Mounts;
use images::{Error, Result};

pub use distribution::Distribution;
pub use guest::Guest;
pub use role::System;

use crate::stack::{Device, Level, Stack, some};
use effort::Effort;
use survey::Survey;
pub use survey::Surveyed;
use tags::Tags;

/// How many systems are looked at; ours. A disk has one or two, and what is known of each is kept.
const MOST_SYSTEMS: usize = 32;

/// What is known of all file systems and systems in the images.
pub struct Inspection {
    /// The file systems that were opened.
    pub volumes: Vec<Surveyed>,
    /// The systems, in the order of their root devices.
    pub guests: Vec<Guest>,
}

/// Opens every file system once, and finds all guests. What belongs to none is closed at once.
pub fn inspect(stack: &Stack) -> Result<Inspection> {
    let survey = Survey::of(stack);
    let (tags, effort) = (Tags::of(stack), Effort::new("the systems in the images"));
    let mut guests = Vec::new();
    for (index, (root, system)) in survey.roots().enumerate() {
        if index == MOST_SYSTEMS {
            let more = survey.roots().count() - index;
            log::warn!("{index} systems are looked at; {more} more are in the images");
            break;
        }
        if !effort.opens() {
            break;
        }
        guests.push(Guest::new(stack, root, system, &survey, &tags, &effort)?.0);
    }
    Ok(Inspection { volumes: survey.volumes, guests })
}

/// The one guest that `-i` mounts, and its tree: the only one, or the one whose root is the device called `wanted`.
pub fn guest(stack: &Stack, wanted: Option<&str>) -> Result<(Guest, Mounts)> {
    let survey = Survey::of(stack);
    let (tags, effort) = (Tags::of(stack), Effort::new("the systems in the images"));
    let new = |root, system| Guest::new(stack, root, system, &survey, &tags, &effort);
    let list = || -> Result<String> {
        let name = |(index, (root, system)): (usize, (usize, System))| {
            let name = if index < MOST_SYSTEMS && effort.opens() {
                new(root, system)?.0.distribution.product_name
            } else {
                None
            };
            Ok(format!("{} ({})", stack.devices[root].name, name.as_deref().unwrap_or(system.name())))
        };
        Ok(some(survey.roots().enumerate().map(name).collect::<Result<Vec<_>>>()?.into_iter()))
    };
    let mut roots = survey.roots();
    if let Some(wanted) = wanted {
        let at = stack.find(wanted);
        return match roots.find(|(root, _)| Some(*root) == at) {
            Some((root, system)) => new(root, system),
            None if survey.roots().next().is_none() => Err(nothing(stack)),
            None => Err(Error::Unknown(format!("--root {wanted}: no system there; there is {}", list()?))),
        };
    }
    match (roots.next(), roots.next()) {
        (None, _) => Err(nothing(stack)),
        (Some((root, system)), None) => new(root, system),
        (Some(_), Some(_)) => {
            let text = format!("several systems are in the images: {}; choose one with --root DEVICE", list()?);
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
