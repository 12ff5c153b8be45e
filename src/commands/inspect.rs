//! `imgmount inspect`: what the systems in the images say of themselves.

use std::collections::HashMap;

use images::Result;
use serde::Serialize;

use super::filesystems::label_text;
use crate::cli::{List, Request};
use crate::inspect::{Guest, inspect};
use crate::stack::{Contents, Stack};
use crate::terminal;

/// Prints what was found: as a table for each system, or as JSON with virt-inspector's field names.
pub fn run(request: &Request, list: &List) -> Result<()> {
    let stack = request.session.open_asking(|_, _| true)?;
    let inspection = inspect(&stack)?;
    let used: HashMap<_, _> = inspection.volumes.into_iter().map(|volume| (volume.at, volume.used)).collect();
    let guests = inspection.guests;
    for warning in guests.iter().flat_map(|guest| &guest.warnings) {
        log::warn!("{warning}");
    }
    let report = Report {
        operating_systems: guests.iter().map(|guest| Os::of(&stack, guest)).collect(),
        filesystems: stack.file_systems().map(|at| Volume::of(&stack, at, used.get(&at))).collect(),
    };
    if list.json { terminal::print_json(&report) } else { terminal::print(&report.page()) }
}

/// Shows what is known of these systems.
pub fn show_systems(page: &mut terminal::Page, stack: &Stack, guests: &[Guest]) {
    show(page, &guests.iter().map(|guest| Os::of(stack, guest)).collect::<Vec<_>>());
}

fn show(page: &mut terminal::Page, systems: &[Os<'_>]) {
    if systems.is_empty() {
        page.lines("no operating system was found\n\n");
    }
    for system in systems {
        page.table(system.rows());
        page.line("");
    }
}

#[derive(Serialize)]
struct Report<'a> {
    operating_systems: Vec<Os<'a>>,
    filesystems: Vec<Volume<'a>>,
}

#[derive(Serialize)]
struct Os<'a> {
    root: &'a str,
    name: &'static str,
    arch: Option<&'a str>,
    distro: Option<&'a str>,
    product_name: Option<&'a str>,
    product_variant: Option<&'a str>,
    major_version: u32,
    minor_version: u32,
    build_id: Option<&'a str>,
    package_format: Option<&'static str>,
    package_management: Option<&'static str>,
    hostname: Option<&'a str>,
    mountpoints: Vec<Mountpoint<'a>>,
    warnings: &'a [String],
}

#[derive(Serialize)]
struct Mountpoint<'a> {
    dev: &'a str,
    path: &'a str,
}

#[derive(Serialize)]
struct Volume<'a> {
    dev: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    label: Option<String>,
    uuid: Option<&'a str>,
    size: u64,
    used: Option<u64>,
    error: Option<String>,
}

impl<'a> Os<'a> {
    fn of(stack: &'a Stack, guest: &'a Guest) -> Self {
        let distribution = &guest.distribution;
        let mountpoint = |(path, at): &'a (String, usize)| Mountpoint { dev: &stack.devices[*at].name, path };
        Self {
            root: &stack.devices[guest.root].name,
            name: guest.system.name(),
            arch: guest.architecture.as_deref(),
            distro: distribution.id.as_deref(),
            product_name: distribution.product_name.as_deref(),
            product_variant: distribution.variant.as_deref(),
            major_version: distribution.version.0,
            minor_version: distribution.version.1,
            build_id: distribution.build_id.as_deref(),
            package_format: guest.package_format,
            package_management: guest.package_management,
            hostname: guest.hostname.as_deref(),
            mountpoints: guest.mounts.iter().map(mountpoint).collect(),
            warnings: &guest.warnings,
        }
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let version = format!("{}.{}", self.major_version, self.minor_version);
        let packages = match (self.package_format, self.package_management) {
            (Some(format), Some(manager)) => Some(format!("{format}, by {manager}")),
            (Some(one), None) | (None, Some(one)) => Some(one.to_owned()),
            (None, None) => None,
        };
        let values = [
            ("root", Some(self.root.to_owned())),
            ("system", Some(self.name.to_owned())),
            ("distribution", self.distro.map(str::to_owned)),
            ("product", self.product_name.map(str::to_owned)),
            ("variant", self.product_variant.map(str::to_owned)),
            ("version", Some(version).filter(|version| version != "0.0")),
            ("build", self.build_id.map(str::to_owned)),
            ("architecture", self.arch.map(str::to_owned)),
            ("hostname", self.hostname.map(str::to_owned)),
            ("packages", packages),
        ];
        let value = |(name, value): (&str, Option<String>)| Some(vec![name.to_owned(), value?]);
        let mut rows: Vec<_> = values.into_iter().filter_map(value).collect();
        for (index, mount) in self.mountpoints.iter().enumerate() {
            let name = if index == 0 { "mounts" } else { "" };
            rows.push(vec![name.to_owned(), format!("{} on {}", mount.dev, mount.path)]);
        }
        rows
    }
}

impl<'a> Volume<'a> {
    /// The volume on this device, and what came of opening it.
    fn of(stack: &'a Stack, at: usize, opened: Option<&std::result::Result<u64, String>>) -> Self {
        let device = &stack.devices[at];
        let mut error = None;
        let mut used = None;
        match &device.contents {
            Contents::Unreadable(why) => error = Some(why.to_string()),
            Contents::Known(..) => match opened {
                Some(Ok(bytes)) => used = Some(*bytes),
                Some(Err(why)) => error = Some(why.clone()),
                None => error = Some("not opened: too many file systems are in the images".to_owned()),
            },
            _ => {}
        }
        Self {
            dev: &device.name,
            kind: device.contents_name(),
            label: label_text(device),
            uuid: device.contents_uuid(),
            size: device.size,
            used,
            error,
        }
    }
}

impl Report<'_> {
    fn page(&self) -> terminal::Page {
        let mut page = terminal::Page::default();
        show(&mut page, &self.operating_systems);
        let head = ["FILE SYSTEM", "TYPE", "SIZE", "USED", "LABEL", "UUID"].map(str::to_owned).to_vec();
        let row = |volume: &Volume<'_>| {
            let label = volume.label.clone().unwrap_or_default();
            let used = volume.used.map(terminal::size).unwrap_or_default();
            let uuid = volume.uuid.unwrap_or_default().to_owned();
            vec![volume.dev.to_owned(), volume.kind.to_owned(), terminal::size(volume.size), used, label, uuid]
        };
        page.table(std::iter::once(head).chain(self.filesystems.iter().map(row)));
        page
    }
}
