//! Damaged bytes: opened and read within bounds, whatever they say.

use std::sync::Arc;
use std::time::{Duration, Instant};

use images::disk::{Counting, Memory};
use images::{Disk, Request, Result};

use super::{Folder, open_as};

/// Opens these bytes and reads some of them, `chunks` from the start and half as many from the middle and near the end;
/// fails only if that takes long.
pub fn survive(format: &str, bytes: Vec<u8>, request: &Request<'_>, chunks: u64) -> Result<()> {
    let begin = Instant::now();
    let counting = Arc::new(Counting::new(Arc::new(Memory::new("hostile", bytes))));
    let result = open_as(format, counting.clone(), request).and_then(|disk| read_some(&*disk, chunks));
    assert!(begin.elapsed() < Duration::from_secs(20), "took {:?}", begin.elapsed());
    assert!(counting.take().1 < 1 << 30, "read too much");
    if let Err(error) = &result {
        assert!(!error.to_string().contains('\n'), "{error}");
    }
    result
}

fn read_some(disk: &dyn Disk, chunks: u64) -> Result<()> {
    const CHUNK: u64 = 40_000;
    let mut first = Ok(());
    let mut buf = vec![0; CHUNK as usize];
    for start in [0, disk.size() / 2, disk.size().saturating_sub(chunks / 2 * CHUNK)] {
        for chunk in 0..if start == 0 { chunks } else { chunks / 2 } {
            let at = start + chunk * CHUNK;
            if at >= disk.size() {
                break;
            }
            let len = (disk.size() - at).min(CHUNK) as usize;
            first = first.and(disk.read_at(&mut buf[..len], at));
        }
    }
    let mut at = 0;
    for _ in 0..5 * chunks {
        if at >= disk.size() {
            break;
        }
        match disk.extent_at(at) {
            Ok(extent) => {
                assert!(extent.len > 0 && extent.len <= disk.size() - at);
                at += extent.len;
            }
            Err(error) => {
                first = first.and(Err(error));
                at += 512;
            }
        }
    }
    first
}

/// Reads `bytes`, a damaged image, and has QEMU read it: whether both could. Where both can, the bytes are equal; where
/// QEMU can and we cannot, `known` must know the reason.
pub fn as_qemu_reads(folder: &Folder, format: &str, bytes: &[u8], known: fn(&str) -> bool) -> bool {
    folder.write("image", bytes);
    let converted = toolbox::command("qemu-img")
        .args(["convert", "-q", "-f", format, "-O", "raw", "image", "theirs"])
        .current_dir(folder.path(""))
        .output()
        .unwrap();
    let disk = folder.open("image");
    let mut ours = vec![0; disk.size() as usize];
    let read = ours.chunks_mut(512).zip((0..).step_by(512)).try_for_each(|(buf, at)| disk.read_at(buf, at));
    if let Err(error) = read {
        let why = error.to_string();
        assert!(!converted.status.success() || known(&why), "{why}");
        return false;
    }
    if converted.status.success() {
        assert!(ours == folder.read("theirs"), "other bytes than QEMU's");
    }
    converted.status.success()
}
