//! LUKS headers of both versions, with the checksums of version 2 made right again, and unlocking what they describe.
#![no_main]

use std::sync::{Arc, LazyLock};

use images::Disk;
use images::crypt::{Sealed, recognise};
use imgmount_fuzz::{Patched, Seeds, bounded, exercise};
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};

/// Key derivations that cost more are allowed, and would take the fuzzer's time.
const MOST_ITERATIONS: u32 = 5000;

static SEEDS: LazyLock<Seeds> = LazyLock::new(|| Seeds::load("luks"));

fuzz_target!(|input: &[u8]| bounded(|| run(input)));

fn run(input: &[u8]) {
    let Some((how, input)) = input.split_first() else { return };
    let Some(mut disk) = SEEDS.patched(input) else { return };
    let cheap = make_cheap(&mut disk);
    if how % 4 != 0 {
        make_right(&mut disk);
    }
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let Ok(Some(container)) = recognise(&*disk) else { return };
    match (container.uuid)(&*disk) {
        Ok(uuid) => assert!(uuid.is_none_or(|uuid| !uuid.contains(char::is_control))),
        Err(error) => exercise::one_line(&error),
    }
    if !cheap {
        return;
    }
    let secret: &[u8] = if how & 4 == 0 { b"secret" } else { b"wrong" };
    match (container.unlock)(&Sealed { disk, header: None, name: "inside".to_owned() }, secret) {
        Ok(Some(inside)) => exercise::disk(&*inside),
        Ok(None) => {}
        Err(error) => exercise::one_line(&error),
    }
}

/// Lowers the counts of iterations of version 1, and says whether those of version 2 are low.
fn make_cheap(disk: &mut Patched) -> bool {
    for at in std::iter::once(164).chain((0..8).map(|slot| 208 + 48 * slot + 4)) {
        let Some(count) = disk.get(at, 4) else { continue };
        let count = count.iter().fold(0, |count, byte| count << 8 | u32::from(*byte));
        if count > MOST_ITERATIONS && disk.get(0, 8).is_some_and(|start| start == b"LUKS\xba\xbe\0\x01") {
            disk.set(at, &(count % MOST_ITERATIONS).to_be_bytes());
        }
    }
    let text = disk.get(4096, 12 << 10).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let costs = ["\"iterations\":", "\"time\":", "\"memory\":"].into_iter().flat_map(|name| text.split(name).skip(1));
    costs.map(|rest| rest.bytes().take_while(u8::is_ascii_digit).count()).all(|digits| digits <= 4)
}

/// The SHA-256 of both headers of version 2, over themselves with zeros in its place.
fn make_right(disk: &mut Patched) {
    const AT: usize = 0x1c0;
    let Some(size) = disk.get(8, 8) else { return };
    let size = size.iter().fold(0u64, |size, byte| size << 8 | u64::from(*byte));
    for start in [0, size] {
        let Some(mut header) = disk.get(start, size.clamp(4096, 4 << 20) as usize) else { continue };
        header[AT..AT + 64].fill(0);
        let sum = Sha256::digest(&header);
        if let Some(at) = start.checked_add(AT as u64) {
            disk.set(at, &sum);
        }
    }
}
