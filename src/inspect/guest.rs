//! A guest: a root file system, everything that belongs to it mounted where the guest mounts it, and what it is.

use filesystems::view::Mounts;
use images::Result;

use super::architecture::architecture;
use super::crypttab;
use super::distribution::Distribution;
use super::effort::Effort;
use super::fstab;
use super::fstab_device::{Meaning, Resolver};
use super::mdadm_conf;
use super::role::{Role, System};
use super::survey::Survey;
use super::tags::Tags;
use super::tree::Tree;
use crate::stack::Stack;

/// One operating system in the images.
pub struct Guest {
    /// The device of its root file system.
    pub root: usize,
    /// What kind of system it is.
    pub system: System,
    /// Where the guest mounts what: absolute paths and devices, in the order of mounting; the root is the first.
    pub mounts: Vec<(String, usize)>,
    /// What was passed over on the way, one line each.
    pub warnings: Vec<String>,
    /// What it says of itself.
    pub distribution: Distribution,
    /// The processor, as `uname -m` spells it.
    pub architecture: Option<String>,
    /// The name of the machine.
    pub hostname: Option<String>,
    /// `deb`, `rpm` …
    pub package_format: Option<&'static str>,
    /// `apt`, `dnf` …
    pub package_management: Option<&'static str>,
}

/// How many file systems a guest mounts at most; ours. A tree of mounts holds about as many.
const MOST_MOUNTS: usize = 250;

/// How much of what was passed over is said of one guest, in lines; ours.
const MOST_WARNINGS: usize = 50;

/// Mount points that a guest fills itself when it runs; guestmount's list.
const NOT_STORED: &[&str] = &["/dev", "/media", "/proc", "/selinux", "/sys"];

impl Guest {
    /// Puts the guest with this root together, and its whole tree. Fails only if the root itself cannot be opened: what else
    /// is missing is a warning.
    pub fn new(
        stack: &Stack,
        root: usize,
        system: System,
        survey: &Survey,
        tags: &Tags,
        effort: &Effort,
    ) -> Result<(Self, Mounts)> {
        let fs = stack.open(root)?;
        let mut warnings = Vec::new();
        let mut wanted = stored_mounts(stack, root, &Tree::new(&*fs, effort), tags, &mut warnings);
        if system == System::CoreOs
            && let Some(usr) = newest_usr(stack, survey, effort)
        {
            wanted.retain(|(dir, _)| dir != "/usr");
            wanted.push(("/usr".to_owned(), usr));
        }
        // Parents first. The sort is stable: of two entries for one directory the later one covers the earlier.
        wanted.sort_by_key(|(dir, _)| dir.len());
        let mut tree = Mounts::new(fs);
        let mut mounts = vec![("/".to_owned(), root)];
        for (dir, at) in wanted {
            if mounts.len() > MOST_MOUNTS {
                warnings.push(format!("more than {MOST_MOUNTS} mounts are in /etc/fstab: the rest is left out"));
                break;
            }
            // The way there may be very long.
            let refused = effort.refusals();
            Tree::new(&tree, effort).kind(&dir);
            if effort.refusals() != refused {
                warnings.push(format!("{} is not mounted on {dir}: it takes too long to find", stack.devices[at].name));
                continue;
            }
            match stack.open(at).and_then(|fs| tree.mount(dir.as_bytes(), fs)) {
                Ok(()) => mounts.push((dir, at)),
                Err(error) => warnings.push(format!("{} is not mounted on {dir}: {error}", stack.devices[at].name)),
            }
        }
        let asked = Tree::new(&tree, effort);
        let distribution = match system {
            System::Linux | System::CoreOs => Distribution::of(&asked),
            _ => Distribution::default(),
        };
        let architecture = architecture(&asked);
        let hostname = hostname(&asked);
        let package_management = distribution.package_management(&asked);
        let package_format = distribution.package_format();
        if let Some(more) = warnings.len().checked_sub(MOST_WARNINGS).filter(|more| *more > 0) {
            warnings.truncate(MOST_WARNINGS);
            warnings.push(format!("{}: {more} more warnings are left out", stack.devices[root].name));
            warnings.shrink_to_fit();
        }
        let guest = Self {
            root,
            system,
            mounts,
            warnings,
            distribution,
            architecture,
            hostname,
            package_format,
            package_management,
        };
        Ok((guest, tree))
    }
}

/// What fstab mounts from the images, without the root.
fn stored_mounts(
    stack: &Stack,
    root: usize,
    tree: &Tree<'_>,
    tags: &Tags,
    warnings: &mut Vec<String>,
) -> Vec<(String, usize)> {
    let text = tree.text("/etc/fstab").unwrap_or_default();
    let (entries, bad) = fstab::parse(&text);
    warnings.extend(bad);
    let names = tree.text("/etc/crypttab").map(|text| crypttab::parse(&text)).unwrap_or_default();
    // Where Debian has it, and where others have it.
    let arrays = tree.text("/etc/mdadm/mdadm.conf").or_else(|| tree.text("/etc/mdadm.conf"));
    let arrays = arrays.map(|text| mdadm_conf::parse(&text)).unwrap_or_default();
    let resolver = Resolver::new(stack, tags, root, &entries, names, arrays);
    let mut wanted = Vec::new();
    for entry in &entries {
        let stored = |dir: &str| {
            !NOT_STORED
                .iter()
                .any(|skip| dir.strip_prefix(skip).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
        };
        if !entry.dir.starts_with('/') || !stored(&entry.dir) || entry.is_swap() {
            continue;
        }
        match resolver.meaning(entry) {
            Meaning::Device(at) if entry.dir == "/" => {
                if at != root {
                    let (listed, found) = (&stack.devices[at].name, &stack.devices[root].name);
                    warnings.push(format!("/etc/fstab line {}: / is {listed} there, {found} is mounted", entry.line));
                }
            }
            Meaning::Device(at) => wanted.push((entry.dir.clone(), at)),
            Meaning::Elsewhere => {}
            // The root has been found, whatever its own list calls it.
            Meaning::Missing(_) if entry.dir == "/" => {}
            Meaning::Missing(why) => {
                warnings.push(format!("/etc/fstab line {}: {} is not mounted: {why}", entry.line, entry.dir));
            }
        }
    }
    wanted
}

/// Container Linux keeps two `/usr` volumes and boots the newer one.
fn newest_usr(stack: &Stack, survey: &Survey, effort: &Effort) -> Option<usize> {
    let volumes = survey.roles.iter().filter(|(_, role)| *role == Role::Usr(System::CoreOs)).map(|(at, _)| *at);
    volumes.max_by_key(|&at| {
        let fs = stack.open(at).ok();
        let text = fs.and_then(|fs| Tree::new(&*fs, effort).text("/lib/os-release")).unwrap_or_default();
        let version = super::distribution::assignments(&text).remove("VERSION_ID").unwrap_or_default();
        version.split('.').map(|part| part.parse::<u64>().unwrap_or(0)).collect::<Vec<_>>()
    })
}

fn hostname(tree: &Tree<'_>) -> Option<String> {
    let line = |path: &str| {
        let text = tree.text(path)?;
        text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned)
    };
    let assigned = |path: &str, name: &str| super::distribution::assignments(&tree.text(path)?).remove(name);
    line("/etc/HOSTNAME")
        .or_else(|| line("/etc/hostname"))
        .or_else(|| assigned("/etc/sysconfig/network", "HOSTNAME"))
        .or_else(|| assigned("/etc/rc.conf", "hostname"))
        .filter(|name| !name.is_empty())
}
