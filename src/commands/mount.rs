//! `imgmount -a … -i DIR`: opens the images, puts the tree together and serves it.

use std::sync::Arc;
use std::time::Duration;

use filesystems::FileSystem;
use images::{Error, Location, Result, SOURCES};

use crate::cli::{Mount, Request};
use crate::deleted::beside;
use crate::place::Place;
use crate::session::{Input, Session};
use crate::stack::{Stack, is_unlocked_by_uuid};
use crate::{background, blocks, fuse, progress, terminal};

/// Mounts and, in the serving process, returns after unmounting. The value is the exit status.
pub fn run(request: &Request) -> Result<u8> {
    let mount = &request.cli.mount;
    if mount.fuse_help {
        let mut page = terminal::Page::default();
        page.lines(&fuse::Options::help());
        return terminal::print(&page).map(|()| 0);
    }
    let options = fuse_options(mount, request)?;
    let plan = background::Plan {
        foreground: mount.no_fork || mount.places.images.trace,
        pid_file: mount.pid_file.clone(),
        fd: mount.fd,
        words: request.words.clone(),
    };
    // Before anything is opened: the program starts itself again to serve.
    let mut server = match background::begin(&plan)? {
        background::Role::Command(code) => return Ok(code),
        background::Role::Server(server) => server,
    };
    terminal::start_log(mount.places.images.verbose, mount.places.images.trace);
    let stack = open(&request.session, mount)?;
    request.session.keys()?.forget();
    let (tree, written) =
        if mount.blocks { (blocks::tree(&stack, &request.session)?, Vec::new()) } else { tree(&stack, mount)? };
    let directory = mount.directory.as_deref().expect("the command line was checked for it");
    let served = fuse::serve(tree, written, directory, &options, || {
        progress::hide();
        server.ready()
    });
    server.finish();
    served.map(|()| 0)
}

/// Opens the images, and asks at the terminal for keys: with `-i` for all encrypted volumes, with `-m` for those that
/// its devices may lie in.
///
/// This process has the terminal and the standard input of the command: nothing that is typed or read there is passed
/// on between processes.
fn open(session: &Session, mount: &Mount) -> Result<Stack> {
    if mount.places.inspector {
        return session.open_asking(|_, _| true);
    }
    // Whatever lies in an encrypted image needs its key.
    let stack = session.open_asking(|_, _| false)?;
    let mut missing = Vec::new();
    for wanted in mount.places.selection()?.devices {
        let device = &*wanted.device;
        match stack.find(device) {
            Some(at) if stack.devices[at].locked().is_none() => {}
            Some(at) => missing.push(stack.devices[at].name.clone()),
            None => missing.push(format!("/dev/{}", device.strip_prefix("/dev/").unwrap_or(device))),
        }
    }
    // Keys from standard input have been read, and are gone.
    if missing.is_empty() || session.reads_keys() || !stack.devices.iter().any(|device| device.locked().is_some()) {
        return Ok(stack);
    }
    drop(stack);
    session.open_asking(move |volume, inside| {
        // A name that is no encrypted volume's may be a logical volume or a partition in any of them.
        let may_be = |name: &String| name == volume || name == inside || !is_unlocked_by_uuid(name);
        missing.iter().any(may_be)
    })
}

fn fuse_options(mount: &Mount, request: &Request) -> Result<fuse::Options> {
    let mut options = fuse::Options::default();
    let mut names = Vec::new();
    for input in request.session.inputs() {
        match input {
            Input::Image(image) => {
                let location = Location::of(&image.path, SOURCES);
                names.push(location.shown().to_string_lossy().into_owned());
                options.waits |= location.is_remote();
            }
            Input::Guest(guest) => names.push(guest.clone()),
        }
    }
    options.fsname = Some(names.join(","));
    options.owner = mount.owner;
    options.selinux_inherit = !mount.no_selinux_inherit;
    for option in &mount.option {
        options.add(option).map_err(|why| Error::Usage(format!("-o {option}: {why}")))?;
    }
    // guestmount ignores values that are not positive.
    if let Some(seconds) = mount.dir_cache_timeout.and_then(|seconds| u64::try_from(seconds).ok()).filter(|&s| s > 0) {
        options.set_timeout(Duration::from_secs(seconds));
    }
    Ok(options)
}

/// The tree that `-i` and `-m` ask for, and the file systems in it that are written.
fn tree(stack: &Stack, mount: &Mount) -> Result<(Arc<dyn FileSystem>, Vec<Arc<dyn FileSystem>>)> {
    let selection = mount.selection()?;
    let (tree, places) = if selection.is_empty() {
        (None, Vec::new())
    } else {
        let (tree, places) = selection.tree(stack)?;
        (Some(tree), places)
    };
    for place in &places {
        for note in &place.tree.properties(place.tree.root()).notes {
            log::info!("{}: {note}", place.device);
        }
    }
    let written = places.iter().filter(|place| place.written).map(|place| place.tree.clone()).collect();
    if !mount.deleted && !mount.unallocated {
        return Ok((Arc::new(tree.expect("the command line was checked for -i or -m")), written));
    }
    let all = Place::all(stack);
    if all.is_empty() {
        return Err(stack.no_file_system());
    }
    Ok((Arc::new(beside(tree, &all, mount.deleted, mount.unallocated)?), written))
}
