//! How often a leaf is asked what a device is: once.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use filesystems::{DRIVERS, Driver, Identity};
use images::crypt::{CONTAINERS, Container};
use images::disk::{Counting, Memory};
use images::{Disk, Error, Result};
use imgmount::keys::Keys;
use imgmount::stack::{Contents, Stack, Tables};
use partition::{SCHEMES, Scheme};

/// How many pages of a device all leaves together look at, and those of the tables in it.
const READS: u64 = 12;

static ASKED: LazyLock<Mutex<HashMap<(&'static str, String), usize>>> = LazyLock::new(Mutex::default);

fn count(kind: &'static str, disk: &dyn Disk) -> Result<bool> {
    *ASKED.lock().unwrap().entry((kind, disk.to_string())).or_default() += 1;
    Ok(false)
}

static WITH_COUNT: LazyLock<Vec<Scheme>> = LazyLock::new(|| {
    let counts = Scheme::new("counts", |disk| count("scheme", disk), |_, _| Ok(Vec::new()));
    [SCHEMES, &[counts]].concat()
});

static CONTAINERS_WITH_COUNT: LazyLock<Vec<Container>> = LazyLock::new(|| {
    let counts = Container::new("counts", "counts", |disk| count("container", disk), |_, _| Ok(None));
    [CONTAINERS, &[counts]].concat()
});

static DRIVERS_WITH_COUNT: LazyLock<Vec<Driver>> = LazyLock::new(|| {
    let probe = |disk: &dyn Disk| Ok(count("driver", disk)?.then(Identity::default));
    [DRIVERS, &[Driver::new("counts", probe, |_| Err(Error::NotFound))]].concat()
});

/// A disk of 16 MiB with an MBR of two partitions, one of them an extended one of three.
fn partitioned() -> Vec<u8> {
    const SECTORS: u32 = 16 << 11;
    let mut disk = vec![0; SECTORS as usize * 512];
    let mut table = |sector: u32, records: &[(u8, u32, u32)]| {
        let at = sector as usize * 512;
        for (index, (kind, start, len)) in records.iter().enumerate() {
            let record = at + 446 + index * 16;
            disk[record + 4] = *kind;
            disk[record + 8..record + 12].copy_from_slice(&start.to_le_bytes());
            disk[record + 12..record + 16].copy_from_slice(&len.to_le_bytes());
        }
        disk[at + 510..at + 512].copy_from_slice(&[0x55, 0xaa]);
    };
    table(0, &[(0x83, 2048, 2048), (5, 8192, SECTORS - 8192)]);
    table(8192, &[(0x83, 2048, 2048), (5, 4096, 4096)]);
    table(8192 + 4096, &[(0x83, 2048, 2048), (5, 8192, 4096)]);
    table(8192 + 8192, &[(0x8e, 2048, 2048)]);
    disk
}

#[test]
fn each_leaf_is_asked_once_what_a_device_is() {
    let counting = Arc::new(Counting::new(Arc::new(Memory::new("counted", partitioned()))));
    let tables = Tables { schemes: &WITH_COUNT, containers: &CONTAINERS_WITH_COUNT, drivers: &DRIVERS_WITH_COUNT };
    let disk: Arc<dyn Disk> = counting.clone();
    let stack = Stack::with_tables(vec![disk], filesystems::Options::default(), &Keys::default(), tables).unwrap();
    assert_eq!(stack.devices.len(), 6, "the disk, a primary, an extended and three logical partitions");
    let asked = ASKED.lock().unwrap();
    for device in &stack.devices {
        let Ok(disk) = &device.disk else { continue };
        for kind in ["scheme", "container"] {
            assert_eq!(asked.get(&(kind, disk.to_string())), Some(&1), "{kind} of {disk}");
        }
        // A disk with a partition table is no file system.
        let want = matches!(device.contents, Contents::Unknown).then_some(&1);
        assert_eq!(asked.get(&("driver", disk.to_string())), want, "drivers of {disk}");
    }
    let (reads, _) = counting.take();
    assert!(reads <= 5 * READS, "{reads} reads for five devices that can be read");
}
