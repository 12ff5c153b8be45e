//! Disks that sgdisk, sfdisk, parted and mkfs.fat made, compared with what sfdisk reads from them.

use std::fs::File;
use std::path::Path;

use images::disk::HostFile;

use super::*;

/// Runs a command line that is split at spaces, with `DISK` replaced; returns what it printed.
fn run(disk: &Path, line: &str) -> String {
    let words: Vec<String> = line.split(' ').map(|word| word.replace("DISK", disk.to_str().unwrap())).collect();
    toolbox::run(toolbox::command(&words[0]).args(&words[1..]))
}

pub struct Made(tempfile::TempDir);

impl Made {
    pub fn new(size: u64, lines: &[&str]) -> Self {
        let made = Self(tempfile::tempdir().unwrap());
        File::create(made.path()).unwrap().set_len(size).unwrap();
        lines.iter().for_each(|line| drop(run(&made.path(), line)));
        made
    }

    pub fn path(&self) -> std::path::PathBuf {
        self.0.path().join("disk")
    }

    pub fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(HostFile::open(&self.path()).unwrap())
    }

    /// Has sfdisk write a table; it takes the sector size from `device`, the file or a loop device of it.
    pub fn sfdisk(&self, options: &str, device: &Path, script: &str) {
        let script_path = self.0.path().join("script");
        std::fs::write(&script_path, script).unwrap();
        let mut command = toolbox::command("sfdisk");
        command.args(["--no-reread", "--no-tell-kernel", "--quiet"]).args(options.split_whitespace()).arg(device);
        toolbox::run(command.stdin(File::open(script_path).unwrap()));
    }

    /// What `sfdisk --dump` says of each partition: number, start and size in bytes, type, UUID and name.
    fn dump(device: &Path, sector_size: u64) -> Vec<String> {
        let dump = run(device, "sfdisk --dump DISK");
        let label_id = dump.lines().find_map(|line| line.strip_prefix("label-id: ")).unwrap_or_default();
        let prefix = device.to_str().unwrap();
        let parts = dump.lines().filter_map(|line| line.strip_prefix(prefix)?.split_once(" : "));
        parts
            .filter(|(_, fields)| !["type=5", "type=f", "type=85"].iter().any(|kind| fields.trim_end().ends_with(kind)))
            .map(|(number, fields)| {
                let number: u32 = number.trim().trim_start_matches('p').parse().unwrap();
                let field = |name: &str| {
                    let value = fields.split(", ").find_map(|field| field.trim().strip_prefix(name));
                    value.map(|value| value.trim().trim_matches('"').to_lowercase())
                };
                let bytes = |name: &str| field(name).unwrap().parse::<u64>().unwrap() * sector_size;
                let uuid = field("uuid=").unwrap_or_else(|| format!("{}-{number:02x}", &label_id[2..]));
                let kind = field("type=").unwrap();
                let kind = if kind.len() < 3 { format!("0x{kind:0>2}") } else { kind };
                let name = field("name=").unwrap_or_default();
                format!("{number} {} {} {kind} {uuid} {name}", bytes("start="), bytes("size="))
            })
            .collect()
    }

    /// The same of our reading. The start is found by marks that are written into the partitions.
    fn ours(&self, scheme: &str) -> Vec<String> {
        let marked = std::fs::OpenOptions::new().write(true).open(self.path()).unwrap();
        let found = volumes(self.disk(), scheme);
        found
            .iter()
            .filter_map(|volume| volume.disk.as_ref().ok().map(|disk| (volume, disk)))
            .map(|(volume, disk)| {
                // A view answers with the host's file and offset, or with a hole; data makes it the former.
                let start = (0..)
                    .find_map(|_| match disk.extent_at(0).unwrap().data {
                        images::Data::Host(_, at) => Some(at),
                        _ => {
                            self.fill(&marked);
                            None
                        }
                    })
                    .unwrap();
                let kind = volume.kind_id.as_deref().unwrap();
                let label = volume.label.as_deref().unwrap_or_default().to_lowercase();
                let uuid = volume.uuid.as_deref().unwrap();
                format!("{} {start} {} {kind} {uuid} {label}", number(volume), volume.size)
            })
            .collect()
    }

    /// Allocates every hole of the file, which reads as before.
    fn fill(&self, file: &File) {
        let bytes = std::fs::read(self.path()).unwrap();
        std::os::unix::fs::FileExt::write_all_at(file, &bytes, 0).unwrap();
    }

    pub fn assert_like_sfdisk(&self, scheme: &str) {
        self.assert_like(scheme, &self.path(), 512);
        // libblkid reads partition tables with code of its own; udev's names come from it.
        let lines = run(&self.path(), "partx --raw --noheadings --output NR,START,SECTORS,TYPE,UUID DISK");
        let theirs = lines.lines().map(|line| line.split(' ').collect::<Vec<_>>()).filter_map(|fields| {
            let kind = if fields[3].len() == 3 { fields[3].replace("0x", "0x0") } else { fields[3].into() };
            let bytes = |field: &str| field.parse::<u64>().unwrap() * 512;
            let line = format!("{} {} {} {kind} {}", fields[0], bytes(fields[1]), bytes(fields[2]), fields[4]);
            (!["0x05", "0x0f", "0x85"].contains(&kind.as_str())).then_some(line)
        });
        let mut theirs: Vec<_> = theirs.collect();
        let ours = self.ours(scheme);
        let mut ours: Vec<_> =
            ours.iter().map(|line| line.splitn(6, ' ').take(5).collect::<Vec<_>>().join(" ")).collect();
        theirs.sort();
        ours.sort();
        assert_eq!(ours, theirs);
    }

    fn assert_like(&self, scheme: &str, device: &Path, sector_size: u64) {
        let want = Self::dump(device, sector_size);
        assert!(!want.is_empty());
        assert_eq!(self.ours(scheme), want);
    }
}

/// A loop device with sectors of 4096 bytes, until it is dropped.
struct Loop(std::path::PathBuf);

impl Loop {
    fn new(file: &Path) -> Self {
        let device = run(file, "losetup --show --find --sector-size 4096 DISK");
        Self(device.trim().into())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        run(&self.0, "losetup --detach DISK");
    }
}

#[test]
fn sgdisk_writes_a_gpt() {
    let made = Made::new(
        64 * MIB,
        &[
            "sgdisk --clear --new=1:0:+8M --typecode=1:ef00 --change-name=1:ESP DISK",
            "sgdisk --new=2:0:+16M --typecode=2:8300 --new=7:0:+4M --typecode=7:8e00 --change-name=7:pv DISK",
            "sgdisk --resize-table=256 --new=200:0:0 --typecode=200:8200 DISK",
        ],
    );
    made.assert_like_sfdisk("gpt");
    let kinds: Vec<_> = volumes(made.disk(), "gpt").into_iter().map(|volume| volume.kind).collect();
    assert_eq!(kinds, ["EFI System", "Linux filesystem", "Linux LVM", "Linux swap"]);
}

#[test]
fn parted_writes_both_kinds() {
    let made = Made::new(
        64 * MIB,
        &["parted --script DISK mklabel gpt mkpart first ext4 1MiB 20MiB mkpart second fat32 20MiB 60MiB set 2 esp on"],
    );
    made.assert_like_sfdisk("gpt");
    let made = Made::new(
        64 * MIB,
        &["parted --script DISK mklabel msdos mkpart primary ext4 1MiB 20MiB mkpart extended 20MiB 60MiB \
           mkpart logical ext4 21MiB 30MiB mkpart logical fat32 31MiB 50MiB mkpart primary ext4 60MiB 63MiB"],
    );
    made.assert_like_sfdisk("mbr");
}

const MBR: &str = "label: dos\n,4M,c,*\n,40M,E\n,2M,82\n,8M,L\n,1M,7\n,3M,L\n,,L\n";

const GPT: &str = "label: gpt\n,8M,U\n,,L,\n";

#[test]
fn sfdisk_writes_both_kinds() {
    for (scheme, script) in [("gpt", GPT), ("mbr", MBR)] {
        let made = Made::new(64 * MIB, &[]);
        made.sfdisk("", &made.path(), script);
        made.assert_like_sfdisk(scheme);
    }
}

/// Needs root, for a loop device: this sfdisk takes the sector size from nothing else.
#[test]
fn sfdisk_writes_both_kinds_with_4096_byte_sectors() {
    for (scheme, script) in [("gpt", GPT), ("mbr", MBR)] {
        let made = Made::new(64 * MIB, &[]);
        let device = Loop::new(&made.path());
        made.sfdisk("", &device.0, script);
        run(&device.0, "blockdev --flushbufs DISK");
        made.assert_like(scheme, &device.0, 4096);
    }
}

#[test]
fn a_fat_file_system_on_the_whole_disk_is_no_table() {
    for options in ["-F 12", "-F 16", "-F 32", "-F 32 -S 4096 -s 1", "--mbr=y -F 16"] {
        let size = if options.contains("4096") { 600 * MIB } else { 64 * MIB };
        let made = Made::new(size, &[&format!("mkfs.fat {options} DISK")]);
        // With --mbr it pretends to be a partition of its own disk, from sector 0.
        assert_eq!(table(made.disk()).0, None, "{options}");
    }
}

#[test]
fn a_new_file_system_hides_the_old_table() {
    let made = Made::new(64 * MIB, &["sgdisk --clear --new=1:0:+8M DISK", "mkfs.fat -F 32 -I DISK"]);
    assert_eq!(table(made.disk()).0, None);
    let made = Made::new(64 * MIB, &["sgdisk --clear --new=1:0:+8M DISK"]);
    made.sfdisk("--wipe never --wipe-partitions never", &made.path(), "label: dos\n,4M,L\n");
    made.assert_like_sfdisk("mbr");
}
