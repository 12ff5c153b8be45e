//! `imgmount info`: what images say of themselves, the files that they consist of, and whether the hashes in them are
//! right.

mod verification;

use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use images::disk::Fill;
use images::info::{Contained, Layer, Member, Snapshot};
use images::{Error, Location, Result};
use serde_json::{Map, Value, json};

use self::verification::Verification;
use crate::cli::Info;
use crate::terminal;

/// How many extents are added up; ours. The rest is given as not looked at.
const MOST_EXTENTS: usize = 1 << 20;
/// How many snapshots the table shows; the JSON has all.
const MOST_SNAPSHOTS_SHOWN: usize = 100;
/// The exit status where a hash is not right.
const NOT_VERIFIED: u8 = 2;

/// Prints what is known of the images; the value is the exit status: 1 if a file that belongs to one cannot be had, 2
/// if a hash is not right.
pub fn run(options: &Info) -> Result<u8> {
    let opening = options.opening();
    let mut reports = Vec::new();
    for path in &options.images {
        reports.push(Report::of(path, &opening, options.verify)?);
    }
    if options.json {
        // One list whatever their number: where an image begins, `depth` is 0.
        let layers: Vec<Value> = reports.iter().flat_map(Report::json).collect();
        terminal::print_json(&layers)?;
    } else {
        let mut page = terminal::Page::default();
        for (index, report) in reports.iter().enumerate() {
            if index > 0 {
                page.line("");
            }
            report.show(&mut page);
        }
        terminal::print(&page)?;
    }
    let mut status = 0;
    for (path, report) in options.images.iter().zip(&reports) {
        if let Some(problem) = report.problem() {
            terminal::complain(&format!("{}: {problem}", shown(path.as_os_str())));
            status = 1;
        }
        if report.verification.as_ref().is_some_and(Verification::has_failed) {
            terminal::complain(&format!("{}: a hash is not right", shown(path.as_os_str())));
            status = NOT_VERIFIED;
        }
    }
    Ok(status)
}

/// One image with its chain.
struct Report {
    layers: Vec<Layer>,
    /// What the extents of the guest's disk add up to, and how large that is, if it can be opened.
    disk: Result<(Fill, u64)>,
    /// What came of the hashes, if they are wanted.
    verification: Option<Verification>,
}

impl Report {
    fn of(path: &Path, options: &images::Options, verify: bool) -> Result<Self> {
        let layers = images::info(path, options)?;
        let disk = images::open_all(path, options).and_then(|disks| fill(&disks));
        let verification = verify.then(|| Verification::of(path, options)).transpose()?;
        Ok(Self { layers, disk, verification })
    }

    /// Why a file that belongs to the image is not here, or why its content cannot be mapped. That it is encrypted is
    /// no problem: it is description.
    fn problem(&self) -> Option<&Error> {
        let encrypted = self.layers.iter().any(|layer| layer.description.encryption.is_some());
        let missing = self.layers.iter().find_map(|layer| layer.problem.as_ref());
        missing.or(self.disk.as_ref().err().filter(|_| !encrypted))
    }

    fn json(&self) -> Vec<Value> {
        let mut layers: Vec<Value> =
            self.layers.iter().enumerate().map(|(depth, layer)| layer_json(layer, depth)).collect();
        if let (Some(Value::Object(top)), Ok((fill, _))) = (layers.first_mut(), &self.disk) {
            let fill = json!({
                "data": fill.data,
                "zero": fill.zero,
                "hole": fill.hole,
                "not-counted": fill.rest,
                "runs": fill.runs,
            });
            top.insert("extents".to_owned(), fill);
        }
        if let (Some(Value::Object(top)), Some(verification)) = (layers.first_mut(), &self.verification) {
            top.insert("verification".to_owned(), verification.json());
        }
        layers
    }

    fn show(&self, page: &mut terminal::Page) {
        for (depth, layer) in self.layers.iter().enumerate() {
            let mut rows = layer_rows(layer, depth);
            if let (0, Ok((fill, size))) = (depth, &self.disk) {
                rows.push(vec!["content".to_owned(), content(fill, *size)]);
            }
            if let (0, Some(verification)) = (depth, &self.verification) {
                rows.extend(verification.rows());
            }
            page.table(rows);
            let snapshots = &layer.description.snapshots;
            if !snapshots.is_empty() {
                page.table(snapshot_rows(snapshots));
            }
            if snapshots.len() > MOST_SNAPSHOTS_SHOWN {
                page.line(format_args!("  and {} more", snapshots.len() - MOST_SNAPSHOTS_SHOWN));
            }
        }
    }
}

/// What the extents of the disks add up to, and how large they are together.
fn fill(disks: &[Arc<dyn images::Disk>]) -> Result<(Fill, u64)> {
    let (mut sum, mut size) = (Fill::default(), 0u64);
    for disk in disks {
        let fill = Fill::of(&**disk, MOST_EXTENTS)?;
        for (sum, own) in [
            (&mut sum.data, fill.data),
            (&mut sum.zero, fill.zero),
            (&mut sum.hole, fill.hole),
            (&mut sum.rest, fill.rest),
            (&mut sum.runs, fill.runs),
            (&mut size, disk.size()),
        ] {
            *sum = sum.saturating_add(own);
        }
    }
    Ok((sum, size))
}

/// The path or address as `qemu-img` prints it, without what could talk to the terminal.
fn shown(location: &OsStr) -> String {
    terminal::clean(location.as_encoded_bytes())
}

/// A number of bytes for people, and exactly.
fn bytes(count: u64) -> String {
    if count < 1024 { terminal::size(count) } else { format!("{} ({count} bytes)", terminal::size(count)) }
}

fn content(fill: &Fill, size: u64) -> String {
    let percent = if size == 0 { 0.0 } else { fill.data as f64 / size as f64 * 100.0 };
    let mut text = format!("{} of data ({percent:.1} %)", terminal::size(fill.data));
    for (count, what) in [(fill.zero, "of zeros"), (fill.hole, "of holes"), (fill.rest, "not counted")] {
        if count > 0 {
            text += &format!(", {} {what}", terminal::size(count));
        }
    }
    text
}

/// What the host says of a file: who owns it and who may read it.
fn ownership(metadata: &Metadata) -> String {
    format!("{}:{}, mode {:04o}", metadata.uid(), metadata.gid(), metadata.mode() & 0o7777)
}

/// The space that the file takes on the host, in bytes.
fn allocated(metadata: &Metadata) -> u64 {
    metadata.blocks().saturating_mul(512)
}

fn layer_rows(layer: &Layer, depth: usize) -> Vec<Vec<String>> {
    let description = &layer.description;
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
    row(if depth == 0 { "image" } else { "backing file" }, shown(&layer.file.location.shown()));
    let version =
        description.specific.get("compat").and_then(Value::as_str).map(|compat| format!(", version {compat}"));
    row("format", format!("{}{}", layer.format, version.unwrap_or_default()));
    if description.disks.len() <= 1 {
        row("virtual size", description.virtual_size.map_or_else(|| "not known".to_owned(), bytes));
    }
    if let Some(metadata) = &layer.file.metadata {
        row("allocated", bytes(allocated(metadata)));
    }
    row("file size", bytes(layer.file_size));
    if let Some(metadata) = &layer.file.metadata {
        row("owner", ownership(metadata));
    }
    if let Some(size) = description.cluster_size {
        row("cluster size", bytes(size));
    }
    if let Some(encryption) = &description.encryption {
        row("encryption", encryption.clone());
    }
    if description.dirty {
        row("state", "dirty: a writer has not closed it".to_owned());
    }
    let features: Vec<String> = description.specific.iter().filter_map(|(name, value)| feature(name, value)).collect();
    if !features.is_empty() {
        row("features", features.join(", "));
    }
    for disk in &description.disks {
        row("disk", contained(disk));
    }
    for file in &layer.files {
        let owner = file.metadata.as_ref().map(|metadata| format!(" (owner {})", ownership(metadata)));
        row("data file", shown(&file.location.shown()) + &owner.unwrap_or_default());
    }
    if let Some(backing) = &description.backing {
        let format = backing.format.as_deref().unwrap_or("not recorded");
        let name = terminal::clean(&backing.name);
        row("backed by", format!("{name} (format {format})"));
    }
    if let Some(problem) = &layer.problem {
        row("problem", problem.to_string());
    }
    rows
}

/// A disk of an appliance.
fn contained(disk: &Contained) -> String {
    let name = &disk.name;
    let size = disk.virtual_size.map_or_else(|| "size not known".to_owned(), bytes);
    match (&disk.format, &disk.problem) {
        (Some(format), _) => format!("{name} ({format}, {size})"),
        (None, Some(problem)) => format!("{name}: {problem}"),
        (None, None) => name.clone(),
    }
}

/// One of the features that only this format has, if it is worth a word.
fn feature(name: &str, value: &Value) -> Option<String> {
    match (name, value) {
        ("compat" | "encrypt" | "data-file", _) | (_, Value::Bool(false)) => None,
        (name, Value::Bool(true)) => Some(name.to_owned()),
        (name, Value::String(text)) => Some(format!("{name} {text}")),
        (name, value) => Some(format!("{name} {value}")),
    }
}

fn snapshot_rows(snapshots: &[Snapshot]) -> Vec<Vec<String>> {
    let head = ["  SNAPSHOT", "NAME", "DATE", "SIZE", "MACHINE STATE"].map(str::to_owned).to_vec();
    let row = |snapshot: &Snapshot| {
        vec![
            format!("  {}", snapshot.id),
            snapshot.name.clone(),
            filesystems::Time { seconds: snapshot.date.0.into(), nanoseconds: 0 }.to_string(),
            terminal::size(snapshot.size),
            terminal::size(snapshot.vm_state_size),
        ]
    };
    [head].into_iter().chain(snapshots.iter().take(MOST_SNAPSHOTS_SHOWN).map(row)).collect()
}

fn layer_json(layer: &Layer, depth: usize) -> Value {
    let description = &layer.description;
    let path = |location: &Location| Value::from(location.shown().to_string_lossy().into_owned());
    let mut map = Map::new();
    let mut put = |name: &str, value: Value| map.insert(name.to_owned(), value);
    put("filename", path(&layer.file.location));
    put("format", layer.format.into());
    if let Some(size) = description.virtual_size {
        put("virtual-size", size.into());
    }
    if let Some(metadata) = &layer.file.metadata {
        put("actual-size", allocated(metadata).into());
    }
    put("dirty-flag", description.dirty.into());
    if let Some(size) = description.cluster_size {
        put("cluster-size", size.into());
    }
    if description.encryption.is_some() {
        put("encrypted", true.into());
    }
    if !description.snapshots.is_empty() {
        put("snapshots", description.snapshots.iter().map(snapshot_json).collect());
    }
    if let Some(backing) = &description.backing {
        put("backing-filename", String::from_utf8_lossy(&backing.name).into());
        if let Some(format) = &backing.format {
            put("backing-filename-format", format.as_str().into());
        }
    }
    if let Some(full) = &layer.backing {
        put("full-backing-filename", path(full));
    }
    if !description.specific.is_empty() {
        put("format-specific", json!({ "type": layer.format, "data": description.specific }));
    }
    // What follows is ours.
    if !description.disks.is_empty() {
        put("disks", description.disks.iter().map(contained_json).collect());
    }
    put("depth", depth.into());
    put("file-size", layer.file_size.into());
    if let Some(metadata) = &layer.file.metadata {
        put("owner", owner_json(metadata));
    }
    if !layer.files.is_empty() {
        let file = |member: &Member| {
            let (size, owner) = (member.metadata.as_ref().map(allocated), member.metadata.as_ref().map(owner_json));
            json!({ "filename": path(&member.location), "actual-size": size, "owner": owner })
        };
        put("files", layer.files.iter().map(file).collect());
    }
    if let Some(problem) = &layer.problem {
        put("problem", problem.to_string().into());
    }
    Value::Object(map)
}

fn contained_json(disk: &Contained) -> Value {
    json!({
        "filename": disk.name,
        "format": disk.format,
        "virtual-size": disk.virtual_size,
        "problem": disk.problem,
    })
}

fn owner_json(metadata: &Metadata) -> Value {
    json!({ "uid": metadata.uid(), "gid": metadata.gid(), "mode": format!("{:04o}", metadata.mode() & 0o7777) })
}

fn snapshot_json(snapshot: &Snapshot) -> Value {
    const NANOSECONDS: u64 = 1_000_000_000;
    let mut map = json!({
        "id": snapshot.id,
        "name": snapshot.name,
        "vm-state-size": snapshot.vm_state_size,
        "date-sec": snapshot.date.0,
        "date-nsec": snapshot.date.1,
        "vm-clock-sec": snapshot.vm_clock / NANOSECONDS,
        "vm-clock-nsec": snapshot.vm_clock % NANOSECONDS,
        // Ours: qemu-img does not say it.
        "virtual-size": snapshot.size,
    });
    if let (Some(count), Value::Object(map)) = (snapshot.icount, &mut map) {
        map.insert("icount".to_owned(), count.into());
    }
    map
}
