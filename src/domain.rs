//! `-d`: the disks of a libvirt guest, as its XML has them.
//!
//! The format: <https://libvirt.org/formatdomain.html#hard-drives-floppy-disks-cdroms>.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use images::{Error, Result, ResultExt, xml};
use roxmltree::Node;

use crate::terminal;

/// The longest XML that is read, in bytes. A guest with 200 disks has about 200 KiB.
const MAX_XML: u64 = xml::MAX_XML;
/// How many disks a guest may have; ours.
const MAX_DISKS: usize = 1024;
/// How much is kept of what virsh complains about, in bytes; ours.
const MAX_COMPLAINT: u64 = 4096;

/// A disk of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// What the guest calls it: `vda`.
    pub target: String,
    /// The file or block device of the host.
    pub path: PathBuf,
    /// The format, if the XML says it.
    pub format: Option<String>,
    /// The logical sector size in bytes, if the XML says it.
    pub sector_size: Option<u32>,
    /// Whether the guest may only read it.
    pub read_only: bool,
}

/// The disks of a guest in its order, without those that it can eject. `guest` is a name or UUID that virsh knows, or
/// the path of a file with the XML: one that has a `/` or ends with `.xml`.
///
/// A guest that is running, and one of which that cannot be found out, is read with a warning.
pub fn disks(guest: &str, connection: Option<&str>) -> Result<Vec<Disk>> {
    let virsh = Virsh { connection };
    let is_file = guest.contains('/') || guest.ends_with(".xml");
    let xml = if is_file { read(Path::new(guest))? } else { virsh.ask(&["dumpxml", &format!("--domain={guest}")])? };
    let within = || format!("guest {}", terminal::clean(guest.as_bytes()));
    let found = parse(&xml).within(within())?;
    if !is_file {
        match virsh.ask(&["domstate", &format!("--domain={guest}")]) {
            Ok(state) if state.trim() == "shut off" => {}
            Ok(state) => {
                let state = terminal::clean(state.trim().as_bytes());
                log::warn!("{} is {state}: what is read from its disks may not fit together", within());
            }
            Err(error) => log::warn!("{}: it cannot be found out whether it is running: {error}", within()),
        }
    }
    let beside = Path::new(guest).parent().filter(|_| is_file).unwrap_or(Path::new(""));
    let located = |disk: Found| {
        let path = match disk.source {
            Source::Path(path) => beside.join(path),
            Source::Volume { pool, volume } => {
                let answer = virsh.ask(&["vol-path", &format!("--pool={pool}"), &format!("--vol={volume}")]);
                PathBuf::from(answer.within(format!("disk {} of {}", disk.target, within()))?.trim_end_matches('\n'))
            }
        };
        let Found { target, format, sector_size, read_only, .. } = disk;
        Ok(Disk { target, path, format, sector_size, read_only })
    };
    found.into_iter().map(located).collect()
}

/// libvirt's program, and what it is to connect to.
struct Virsh<'a> {
    connection: Option<&'a str>,
}

impl Virsh<'_> {
    /// What it prints. Fails with its first complaint.
    fn ask(&self, arguments: &[&str]) -> Result<String> {
        let what = || format!("virsh {}", arguments[0]);
        let failed = |error: io::Error| Error::io(what(), error);
        let mut command = Command::new("virsh");
        if let Some(uri) = self.connection {
            command.arg(format!("--connect={uri}"));
        }
        // The states are translated otherwise. Whoever must give a password for the connection can still do so.
        command.args(arguments).env("LC_ALL", "C").stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| {
            match error.kind() {
            io::ErrorKind::NotFound => Error::Usage(
                "-d needs the program virsh, which is not here: apt install libvirt-clients, or give the file with the \
                 guest's XML (virsh dumpxml) in place of its name"
                    .to_owned(),
            ),
            _ => Error::io("cannot start virsh", error),
        }
        })?;
        let complaints = child.stderr.take();
        let complaints = thread::spawn(move || {
            let mut text = Vec::new();
            // What cannot be read is not shown; the exit status tells.
            let _ = complaints.map(|pipe| pipe.take(MAX_COMPLAINT).read_to_end(&mut text));
            text
        });
        let answer = child.stdout.take().map(bounded).transpose();
        if answer.is_err() {
            // It has more to say than anybody wants to hear.
            let _ = child.kill();
        }
        let status = child.wait().map_err(failed)?;
        let complaints = complaints.join().unwrap_or_default();
        let answer = answer.within(what())?.unwrap_or_default();
        if !status.success() {
            let text = String::from_utf8_lossy(&complaints).into_owned();
            let line = text.lines().map(str::trim).find(|line| !line.is_empty());
            let line = line.map_or_else(|| status.to_string(), |line| terminal::clean(line.as_bytes()));
            return Err(failed(io::Error::other(line.trim_start_matches("error: ").to_owned())));
        }
        Ok(answer)
    }
}

/// Reads the XML file at `path`.
fn read(path: &Path) -> Result<String> {
    let cannot = |error| Error::io(format!("cannot read {}", path.display()), error);
    let file = File::open(path).map_err(cannot)?;
    bounded(file).within(path.display())
}

/// Reads text to its end, and fails if it is longer than [`MAX_XML`].
fn bounded(from: impl Read) -> Result<String> {
    let mut text = Vec::new();
    from.take(MAX_XML + 1).read_to_end(&mut text).map_err(|error| Error::io("cannot read the XML", error))?;
    if text.len() as u64 > MAX_XML {
        return Err(Error::Unsupported(format!("the XML of a guest is longer than {MAX_XML} bytes")));
    }
    String::from_utf8(text).map_err(|_| Error::Unsupported("the XML of a guest is not UTF-8".to_owned()))
}

/// A disk as the XML has it.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    target: String,
    source: Source,
    format: Option<String>,
    sector_size: Option<u32>,
    read_only: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Source {
    Path(PathBuf),
    /// A volume of a storage pool, of which libvirt knows where it is.
    Volume {
        pool: String,
        volume: String,
    },
}

fn parse(text: &str) -> Result<Vec<Found>> {
    let document = xml::parse(text, "XML of the guest")?;
    let root = document.root_element();
    if root.tag_name().name() != "domain" {
        let name = clean(root.tag_name().name());
        return Err(Error::Unsupported(format!("the XML describes a {name}, not a domain")));
    }
    let devices = children(root, "devices").flat_map(|devices| children(devices, "disk"));
    let mut disks = Vec::new();
    for disk in devices {
        if let Some(found) = parse_disk(disk)? {
            if disks.len() == MAX_DISKS {
                return Err(Error::Unsupported(format!("more than {MAX_DISKS} disks")));
            }
            disks.push(found);
        }
    }
    if disks.is_empty() {
        return Err(Error::Unknown("it has no disks".to_owned()));
    }
    Ok(disks)
}

/// One `<disk>`; `None` if it is one of those that a guest can eject.
fn parse_disk(disk: Node<'_, '_>) -> Result<Option<Found>> {
    let child = |name: &'static str| children(disk, name).next();
    let own = |node: Option<Node<'_, '_>>, name: &str| {
        node.and_then(|node| node.attribute(name)).filter(|value| !value.is_empty()).map(str::to_owned)
    };
    let target = own(child("target"), "dev").map_or_else(|| "?".to_owned(), |target| clean(&target));
    match disk.attribute("device").unwrap_or("disk") {
        "disk" | "lun" => {}
        other => {
            log::info!("{target} is left out: it is a {}", clean(other));
            return Ok(None);
        }
    }
    let refuse = |why: String| {
        Err(Error::Unsupported(format!("disk {target} {why}; the disks that can be read can be named with -a")))
    };
    let source = child("source");
    if source.is_some_and(|source| children(source, "slices").next().is_some()) {
        return refuse("is a slice of a larger file, which is not read".to_owned());
    }
    let source = match (disk.attribute("type").unwrap_or("file"), own(source, "file"), own(source, "dev")) {
        ("file", Some(path), _) | ("block", _, Some(path)) => Source::Path(path.into()),
        ("volume", ..) => match (own(source, "pool"), own(source, "volume")) {
            (Some(pool), Some(volume)) => Source::Volume { pool, volume },
            _ => return refuse("is a volume of a storage pool, but does not say which".to_owned()),
        },
        ("network", ..) => {
            let protocol = own(source, "protocol").unwrap_or_default();
            let name = own(source, "name").unwrap_or_default();
            return refuse(format!("is a network disk ({} {}), which is not read", clean(&protocol), clean(&name)));
        }
        ("file" | "block", ..) => return refuse("has no source".to_owned()),
        (kind, ..) => return refuse(format!("is of the type {}, which is not read", clean(kind))),
    };
    let sector_size = match own(child("blockio"), "logical_block_size").as_deref() {
        None => None,
        Some("512") => Some(512),
        Some("4096") => Some(4096),
        Some(other) => return refuse(format!("has sectors of {} bytes; 512 and 4096 are read", clean(other))),
    };
    let read_only = child("readonly").is_some();
    Ok(Some(Found { target, source, format: own(child("driver"), "type"), sector_size, read_only }))
}

fn children<'a>(node: Node<'a, 'a>, name: &'static str) -> impl Iterator<Item = Node<'a, 'a>> {
    node.children().filter(move |child| child.tag_name().name() == name)
}

fn clean(text: &str) -> String {
    terminal::clean(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(disks: &str) -> String {
        format!("<?xml version='1.0'?><domain type='kvm'><name>g</name><devices>{disks}</devices></domain>")
    }

    fn refused(xml: &str) -> String {
        parse(xml).unwrap_err().to_string()
    }

    #[test]
    fn disks_are_in_their_order_with_what_is_said_of_them() {
        let found = parse(&domain(
            "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/v/a.qcow2' index='2'>
             <reservations/></source><backingStore type='file'><format type='raw'/><source file='/v/base'/></backingStore>
             <target dev='vda' bus='virtio'/></disk>
             <disk type='file' device='cdrom'><source file='/iso'/><target dev='sda'/><readonly/></disk>
             <disk type='block' device='lun'><driver type='raw'/><source dev='/dev/vg/b'/><target dev='vdb'/><readonly/>
             <blockio logical_block_size='4096'/></disk>
             <disk type='volume'><source pool='default' volume='c &amp; d'/><target dev='vdc'/></disk>",
        ))
        .unwrap();
        let path = |path: &str| Source::Path(path.into());
        let disk = |target: &str, source, format: Option<&str>, sector_size, read_only| {
            let (target, format) = (target.to_owned(), format.map(str::to_owned));
            Found { target, source, format, sector_size, read_only }
        };
        let volume = Source::Volume { pool: "default".into(), volume: "c & d".into() };
        assert_eq!(
            found,
            [
                disk("vda", path("/v/a.qcow2"), Some("qcow2"), None, false),
                disk("vdb", path("/dev/vg/b"), Some("raw"), Some(4096), true),
                disk("vdc", volume, None, None, false),
            ]
        );
    }

    #[test]
    fn what_is_not_read_is_refused_by_name() {
        for (disk, want) in [
            (
                "<disk type='network'><source protocol='rbd' name='pool/image'/><target dev='vda'/></disk>",
                "disk vda is a network disk (rbd pool/image), which is not read",
            ),
            ("<disk type='nvme'><target dev='vdb'/></disk>", "disk vdb is of the type nvme"),
            ("<disk type='file'><target dev='vdc'/></disk>", "disk vdc has no source"),
            ("<disk type='file'><source file='/x'><slices/></source><target dev='vdd'/></disk>", "slice"),
            ("<disk><source file='/x'/><blockio logical_block_size='1'/></disk>", "sectors of 1 bytes"),
            ("<disk device='cdrom'/>", "no disks"),
            ("", "no disks"),
        ] {
            let said = refused(&domain(disk));
            assert!(said.contains(want), "{disk}: {said}");
        }
        assert!(refused("<network/>").contains("a network, not a domain"));
    }

    #[test]
    fn hostile_xml_ends() {
        let many = (MAX_XML / 8) as usize;
        let attributes: String = (0..many).map(|n| format!("a{n}='' ")).collect();
        for xml in [
            String::new(),
            "<domain>".repeat(many),
            "<domain><devices>".to_owned(),
            format!("<domain {attributes}/>"),
            format!("<domain>{}</domain>", "<d/>".repeat(many)),
            domain(&"<disk><source file='x'/></disk>".repeat(MAX_DISKS + 1)),
            "<!DOCTYPE d [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;'>]><domain>&b;</domain>".to_owned(),
            "\u{0}\u{1b}[2J".to_owned(),
        ] {
            let said = refused(&xml);
            assert!(!said.contains(char::is_control), "{said:?}");
        }
        assert!(bounded(io::repeat(b'x')).is_err());
    }
}
