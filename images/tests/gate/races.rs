//! What changes while it is opened: a name that leads to a file and, a moment later, to a device.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use images::{Error, Options};
use rustix::fs::{CWD, FileType, Mode, RenameFlags, inotify, makedev, mknodat, renameat_with};
use rustix::io::Errno;

use crate::formats::qcow2;
use crate::world::*;

/// How often each image is opened while the names are exchanged: a window between looking and opening would be met.
const TIMES: usize = 3000;

/// Opening some devices is an action: a tape rewinds, a watchdog starts. The kernel tells of every opening of this one.
#[test]
fn no_device_is_opened_to_see_that_it_is_one() {
    let world = World::new();
    for directory in ["file", "device"] {
        world.directory(directory, ROOT, 0o755);
    }
    world.write("file/name", &[7; 4096], ROOT, ROOT, 0o644);
    // As /dev/zero.
    mknodat(CWD, world.path("device/name"), FileType::CharacterDevice, Mode::from(0o666), makedev(1, 5))
        .expect("this test needs root: it makes a device");
    for name in ["link/name", "file/name"] {
        let events = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
        inotify::add_watch(&events, world.path("device/name"), inotify::WatchFlags::OPEN).unwrap();
        fs::File::open(world.path("device/name")).unwrap();
        assert!(takes_event(&events), "the kernel tells of openings");

        world.write("direct", b"", ROOT, ROOT, 0o644);
        world.write("over.qcow2", &qcow2(name, "raw"), ROOT, ROOT, 0o644);
        let _ = fs::remove_file(world.path("link"));
        world.link("link", "file", ROOT);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let (file, device) = (world.path("file"), world.path("device"));
                    renameat_with(CWD, file, CWD, device, RenameFlags::EXCHANGE).unwrap();
                }
            });
            let mut seen = [0; 2];
            for time in 0..TIMES {
                let image = if time % 2 == 0 { name } else { "over.qcow2" };
                match world.open(image, &Options::default()) {
                    Ok(disk) => {
                        let mut byte = [0];
                        disk.read_at(&mut byte, 0).unwrap();
                        assert_eq!(byte, [7]);
                        seen[0] += 1;
                    }
                    Err(error) => {
                        assert!(matches!(error.root(), Error::Unsupported(_)), "{error}");
                        assert!(error.to_string().contains("is a character device"), "{error}");
                        seen[1] += 1;
                    }
                }
            }
            done.store(true, Ordering::Relaxed);
            assert!(seen.iter().all(|seen| *seen > 0), "it was one or the other all the time: {seen:?}");
        });
        // Back where they were, whichever way that was.
        if fs::metadata(world.path("file/name")).unwrap().len() == 0 {
            renameat_with(CWD, world.path("file"), CWD, world.path("device"), RenameFlags::EXCHANGE).unwrap();
        }
        assert!(!takes_event(&events), "the device was opened");
    }
}

fn takes_event(events: impl std::os::fd::AsFd) -> bool {
    let mut bytes = [0; 4096];
    match rustix::io::read(&events, &mut bytes) {
        Ok(len) => len > 0,
        Err(Errno::AGAIN) => false,
        Err(errno) => panic!("{errno}"),
    }
}
