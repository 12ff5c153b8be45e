//! Disk images on loop devices, LVM's tools that see nothing else, and the comparison with what these say.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use images::disk::HostFile;
use images::{Budget, Data, Disk};
use lvm2_parser::{Label, MetadataArea};
use partition::lvm::volumes;
use partition::{Name, Volume};

/// Disks and a configuration of LVM of its own. The loop devices go when it is dropped, also in a panic.
pub struct Lab {
    directory: tempfile::TempDir,
    devices: Vec<String>,
}

/// How much [`Lab::check`] compared.
pub struct Checked {
    pub volumes: usize,
    pub segments: usize,
}

impl Lab {
    /// Disks of these sizes in MiB.
    pub fn new(sizes: &[u64]) -> Self {
        Self::with_sectors(sizes, 512)
    }

    /// Disks of these sizes in MiB, with sectors of so many bytes.
    pub fn with_sectors(sizes: &[u64], sector_size: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut lab = Self { directory, devices: Vec::new() };
        for (index, size) in sizes.iter().enumerate() {
            File::create(lab.image(index)).unwrap().set_len(size << 20).unwrap();
            lab.devices.push(attach(&lab.image(index), sector_size));
        }
        let filter: Vec<String> = lab.devices.iter().map(|device| format!("\"a|^{device}$|\"")).collect();
        let root = lab.directory.path().display();
        let configuration = format!(
            "devices {{ filter = [{}, \"r|.*|\"] use_devicesfile = 0 obtain_device_list_from_udev = 0 \
             external_device_info_source = \"none\" }}\n\
             activation {{ udev_sync = 0 udev_rules = 0 monitoring = 0 }}\n\
             global {{ locking_dir = \"{root}/lock\" use_lvmpolld = 0 event_activation = 0 }}\n\
             backup {{ backup = 0 archive = 0 }}\n",
            filter.join(", ")
        );
        std::fs::write(lab.directory.path().join("lvm.conf"), configuration).unwrap();
        lab
    }

    pub fn image(&self, index: usize) -> PathBuf {
        self.directory.path().join(format!("disk{index}.img"))
    }

    pub fn device(&self, index: usize) -> String {
        self.devices[index].clone()
    }

    pub fn disk(&self, index: usize) -> Arc<dyn Disk> {
        Arc::new(open(&self.image(index)))
    }

    pub fn disks(&self) -> Vec<Arc<dyn Disk>> {
        (0..self.devices.len()).map(|index| self.disk(index)).collect()
    }

    /// Runs a command of LVM's, which must succeed, and returns what it prints.
    pub fn lvm(&self, arguments: &[&str]) -> String {
        let mut command = toolbox::command("lvm");
        command.args(arguments).args(["--driverloaded", "n"]);
        command.env("LVM_SYSTEM_DIR", self.directory.path()).env("LVM_SUPPRESS_FD_WARNINGS", "1");
        toolbox::run(&mut command)
    }

    /// `lvcreate` without touching the volume, which does not exist as a device.
    pub fn create(&self, arguments: &[&str]) {
        let all: Vec<&str> = ["lvcreate", "-an", "-y", "-Zn", "-Wn"].iter().chain(arguments).copied().collect();
        self.lvm(&all);
    }

    /// The rows of a report, sizes in bytes.
    pub fn report(&self, arguments: &[&str]) -> Vec<Vec<String>> {
        let options = ["--noheadings", "--separator", "|", "--units", "b", "--nosuffix"];
        let all: Vec<&str> = arguments.iter().chain(&options).copied().collect();
        self.lvm(&all).lines().map(|line| line.trim().split('|').map(Into::into).collect()).collect()
    }

    /// Makes LVM write metadata with these logical volumes for the group of the name.
    pub fn restore(&self, group: &str, volumes: &str) {
        let file = self.directory.path().join("backup").display().to_string();
        self.lvm(&["vgcfgbackup", "-f", &file, group]);
        let text = std::fs::read_to_string(&file).unwrap();
        let start = text.find("\tlogical_volumes {").expect("a group with a volume");
        std::fs::write(&file, format!("{}{volumes}\n}}\n", &text[..start])).unwrap();
        self.lvm(&["vgcfgrestore", "--force", "-y", "-f", &file, group]);
    }

    pub fn read(&self, index: usize, offset: u64, len: u64) -> Vec<u8> {
        let mut bytes = vec![0; len as usize];
        File::open(self.image(index)).unwrap().read_exact_at(&mut bytes, offset).unwrap();
        bytes
    }

    pub fn write(&self, index: usize, offset: u64, bytes: &[u8]) {
        OpenOptions::new().write(true).open(self.image(index)).unwrap().write_all_at(bytes, offset).unwrap();
    }

    /// Changes one byte.
    pub fn flip(&self, index: usize, offset: u64) {
        let byte = self.read(index, offset, 1)[0];
        self.write(index, offset, &[byte ^ 0x40]);
    }

    pub fn label(&self, index: usize) -> Label {
        Label::find(&self.read(index, 0, 2048).try_into().unwrap()).unwrap().expect("a physical volume")
    }

    pub fn area(&self, index: usize, number: usize) -> MetadataArea {
        let at = self.label(index).metadata_areas[number].offset;
        MetadataArea::parse(&self.read(index, at, 512).try_into().unwrap(), at).unwrap()
    }

    /// Fills every extent of every physical volume with a pattern that names its sector; by the names of their devices,
    /// which they are and where their extents begin, in bytes.
    fn fill(&self) -> HashMap<String, (usize, u64)> {
        let mut starts = HashMap::new();
        for row in self.report(&["pvs", "-o", "pv_name,pe_start,pv_pe_count,vg_extent_size"]) {
            let index = self.devices.iter().position(|device| *device == row[0]).unwrap();
            let [start, count, size]: [u64; 3] = [number(&row[1]), number(&row[2]), number(&row[3])];
            let mut pattern = vec![0; (count * size) as usize];
            for (sector, bytes) in (start / 512..).zip(pattern.chunks_exact_mut(512)) {
                let mark = ((index as u64) << 56 | sector).to_le_bytes();
                bytes[..8].copy_from_slice(&mark);
                bytes[504..].copy_from_slice(&mark);
            }
            self.write(index, start, &pattern);
            starts.insert(row[0].clone(), (index, start));
        }
        starts
    }

    /// Fills all extents, and compares all linear and striped volumes that `lvs` lists, byte for byte, with the bytes where
    /// `lvs` says that they lie.
    pub fn check(&self) -> Checked {
        let starts = self.fill();
        let images: Vec<Vec<u8>> =
            (0..self.devices.len()).map(|index| std::fs::read(self.image(index)).unwrap()).collect();
        let files: Vec<u64> =
            (0..self.devices.len()).map(|index| std::fs::metadata(self.image(index)).unwrap().ino()).collect();

        let found = volumes(&self.disks(), &Budget::default()).unwrap();
        let columns =
            "vg_name,lv_name,lv_uuid,lv_size,seg_start_pe,seg_size_pe,segtype,stripesize,vg_extent_size,devices";
        let mut checked = Checked { volumes: 0, segments: 0 };
        let mut seen = HashMap::new();
        for row in self.report(&["lvs", "--segments", "-o", columns]) {
            let [group, name, uuid, size, start, count, kind, stripe_size, extent, devices] = &row[..] else {
                panic!("{row:?}")
            };
            if !matches!(kind.as_str(), "linear" | "striped") {
                continue;
            }
            let volume = find(&found, &format!("{group}/{name}"));
            assert_eq!(volume.uuid.as_ref(), Some(uuid));
            let disk = volume.disk.as_ref().unwrap();
            assert_eq!((volume.size, disk.size()), (number(size), number(size)));
            seen.entry((group.clone(), name.clone())).or_insert(number(size));

            let (start, count, extent) =
                (number(start) * number(extent), number(count) * number(extent), number(extent));
            let areas: Vec<(usize, u64)> = devices
                .split(',')
                .map(|area| {
                    let (device, first) = area.trim_end_matches(')').split_once('(').unwrap();
                    let (index, data) = starts[device];
                    (index, data + number(first) * extent)
                })
                .collect();
            let turn = if areas.len() == 1 { count } else { number(stripe_size) };
            let mut bytes = vec![0; count as usize];
            disk.read_at(&mut bytes, start).unwrap();
            for (index, got) in bytes.chunks(turn as usize).enumerate() {
                let (image, data) = areas[index % areas.len()];
                let at = data + (index / areas.len()) as u64 * turn;
                assert!(
                    got == &images[image][at as usize..][..got.len()],
                    "{row:?}: turn {index}, disk {image} at {at:#x}"
                );
                let here = start + index as u64 * turn;
                match disk.extent_at(here).unwrap().data {
                    Data::Host(file, offset) => {
                        assert_eq!(
                            (file.metadata().unwrap().ino(), offset),
                            (files[image], at),
                            "{row:?} at {here:#x}"
                        );
                    }
                    other => panic!("{row:?} at {here:#x}: {other:?}"),
                }
            }
            // Reads of odd sizes, across turns and into the next segment.
            let mut at = start + 1;
            let mut step = 13;
            while at < start + count {
                let len = (step * 7919 % 300_000 + 1).min(disk.size() - at);
                let mut odd = vec![0; len as usize];
                disk.read_at(&mut odd, at).unwrap();
                let inside = (start + count - at).min(len) as usize;
                assert!(odd[..inside] == bytes[(at - start) as usize..][..inside], "{len} bytes at {at:#x}");
                step += 1;
                at += len + count / 16;
            }
            checked.segments += 1;
        }
        checked.volumes = seen.len();
        checked
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for device in &self.devices {
            let gone = toolbox::command("losetup").args(["-d", device]).status().is_ok_and(|status| status.success());
            assert!(gone || std::thread::panicking(), "losetup -d {device} failed");
        }
    }
}

/// The volume of this name in its group.
pub fn find<'v>(volumes: &'v [Volume], name: &str) -> &'v Volume {
    let (group, volume) = name.split_once('/').unwrap();
    let wanted = Name::InGroup(group.into(), volume.into());
    let found: Vec<&Volume> = volumes.iter().filter(|volume| volume.name == wanted).collect();
    let all = || volumes.iter().map(|volume| format!("{:?}", volume.name)).collect::<Vec<_>>();
    assert_eq!(found.len(), 1, "{name} in {:?}", all());
    found[0]
}

pub fn open(path: &Path) -> HostFile {
    HostFile::new(path, File::open(path).unwrap()).unwrap()
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("\"{text}\" is no number"))
}

/// A loop device for the file. Others take loop devices at the same time, so the first try may fail.
fn attach(path: &Path, sector_size: u32) -> String {
    let mut errors = String::new();
    for _ in 0..50 {
        let mut command = toolbox::command("losetup");
        command.args(["-f", "--show", "-b", &sector_size.to_string()]).arg(path);
        let output = command.output().unwrap();
        if output.status.success() {
            return String::from_utf8(output.stdout).unwrap().trim().into();
        }
        errors = String::from_utf8_lossy(&output.stderr).into_owned();
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("cannot attach a loop device, which needs root: {errors}");
}
