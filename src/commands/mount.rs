//! `imgmount -a … -i DIR`: opens the images, puts the tree together and serves it.

use std::sync::Arc;
use std::time::Duration;

use filesystems::FileSystem;
use filesystems::view::Mounts;
use images::{Error, Result};

use crate::cli::{Input, Mount, Request};
use crate::deleted::{Source, beside};
use crate::stack::{Contents, Stack};
use crate::{background, blocks, fuse, inspect, progress, terminal};

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
        foreground: mount.no_fork || mount.images.trace,
        pid_file: mount.pid_file.clone(),
        fd: mount.fd,
        words: request.words.clone(),
    };
    // Before anything is opened: the program starts itself again to serve.
    let mut server = match background::begin(&plan)? {
        background::Role::Command(code) => return Ok(code),
        background::Role::Server(server) => server,
    };
    terminal::start_log(mount.images.verbose, mount.images.trace);
    let stack = open(request, mount)?;
    request.keys()?.forget();
    let tree = if mount.blocks { blocks(&stack, request)? } else { tree(&stack, mount)? };
    let directory = mount.directory.as_deref().expect("the command line was checked for it");
    let served = fuse::serve(tree, directory, &options, || {
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
fn open(request: &Request, mount: &Mount) -> Result<Stack> {
    if mount.inspector {
        return request.open_asking(|_, _| true);
    }
    // Whatever lies in an encrypted image needs its key.
    let stack = request.open_asking(|_, _| false)?;
    let mut missing = Vec::new();
    for wanted in &mount.mount {
        let device = Wanted::parse(wanted)?.device;
        match stack.find(device) {
            Some(at) if stack.devices[at].locked().is_none() => {}
            Some(at) => missing.push(stack.devices[at].name.clone()),
            None => missing.push(format!("/dev/{}", device.strip_prefix("/dev/").unwrap_or(device))),
        }
    }
    // Keys from standard input have been read, and are gone.
    if missing.is_empty() || mount.images.reads_keys() || !stack.devices.iter().any(|device| device.locked().is_some())
    {
        return Ok(stack);
    }
    drop(stack);
    request.open_asking(move |volume, inside| {
        // A name that is no encrypted volume's may be a logical volume or a partition in any of them.
        let may_be = |name: &String| name == volume || name == inside || !name.starts_with("/dev/mapper/luks-");
        missing.iter().any(may_be)
    })
}

fn fuse_options(mount: &Mount, request: &Request) -> Result<fuse::Options> {
    let mut options = fuse::Options::default();
    let name = |input: &Input| match input {
        Input::Image(image) => image.path.display().to_string(),
        Input::Guest(guest) => guest.clone(),
    };
    let names: Vec<String> = request.inputs.iter().map(name).collect();
    options.fsname = Some(names.join(","));
    for option in &mount.option {
        options.add(option).map_err(|why| Error::Usage(format!("-o {option}: {why}")))?;
    }
    // guestmount ignores values that are not positive.
    if let Some(seconds) = mount.dir_cache_timeout.and_then(|seconds| u64::try_from(seconds).ok()).filter(|&s| s > 0) {
        options.set_timeout(Duration::from_secs(seconds));
    }
    Ok(options)
}

/// The tree that `--blocks` asks for.
fn blocks(stack: &Stack, request: &Request) -> Result<Arc<dyn FileSystem>> {
    if request.cli.mount.wants_writing() {
        return Err(Error::ReadOnly("--rw: the files of --blocks are for reading only".to_owned()));
    }
    blocks::tree(stack, request)
}

/// The tree that `-i` and `-m` ask for.
fn tree(stack: &Stack, mount: &Mount) -> Result<Arc<dyn FileSystem>> {
    let mut mounted = Vec::new();
    let mut tree: Option<Mounts> = None;
    if mount.inspector {
        let (guest, mounts) = inspect::guest(stack, mount.root.as_deref())?;
        for warning in &guest.warnings {
            log::warn!("{warning}");
        }
        for (_, at) in &guest.mounts {
            mounted.push((*at, stack.open(*at)?));
        }
        tree = Some(mounts);
    }
    for wanted in &mount.mount {
        let wanted = Wanted::parse(wanted)?;
        let at = stack.expect(wanted.device)?;
        let fs = wanted.open(stack, at)?;
        mounted.push((at, fs.clone()));
        match &mut tree {
            Some(tree) => tree.mount(wanted.directory.as_bytes(), fs).map_err(|error| {
                Error::Usage(format!("cannot mount {} on {}: {error}", wanted.device, wanted.directory))
            })?,
            None if wanted.directory == "/" => tree = Some(Mounts::new(fs)),
            None => {
                let text =
                    format!("-m {}:{}: nothing is mounted on / yet; name that first", wanted.device, wanted.directory);
                return Err(Error::Usage(text));
            }
        }
    }
    for (at, fs) in mounted {
        let info = fs.info(fs.root())?;
        let name = &stack.devices[at].name;
        for note in &info.notes {
            log::info!("{name}: {note}");
        }
        if mount.wants_writing() {
            return Err(Error::ReadOnly(format!(
                "--rw: {name}: {}; leave out --rw to mount it for reading",
                info.read_only
            )));
        }
    }
    if !mount.deleted && !mount.unallocated {
        return Ok(Arc::new(tree.expect("the command line was checked for -i or -m")));
    }
    if mount.wants_writing() {
        return Err(Error::ReadOnly("--rw: with --deleted and --unallocated a mount is for reading only".into()));
    }
    let sources = Source::all(stack);
    if sources.is_empty() {
        return Err(stack.no_file_system());
    }
    Ok(Arc::new(beside(tree, &sources, mount.deleted, mount.unallocated)?))
}

/// The value of one `-m`: `DEVICE[:DIRECTORY[:OPTIONS[:TYPE]]]`.
struct Wanted<'a> {
    device: &'a str,
    directory: &'a str,
    options: Vec<&'a str>,
    kind: Option<&'a str>,
}

/// Options of mount(8) that change nothing for a tree that is only read: fstab lines can be copied as they are.
const HARMLESS: &[&str] = &[
    "ro",
    "defaults",
    "noatime",
    "relatime",
    "nodiratime",
    "strictatime",
    "lazytime",
    "nosuid",
    "nodev",
    "noexec",
    "exec",
    "sync",
    "async",
    "auto",
    "noauto",
    "user",
    "nouser",
    "users",
    "nofail",
    "_netdev",
    "acl",
    "noacl",
    "user_xattr",
    "nouser_xattr",
    "barrier",
    "nobarrier",
    "errors=remount-ro",
    "errors=continue",
    "errors=panic",
    "discard",
    "nodiscard",
    "utf8",
    "iocharset=utf8",
    "shortname=mixed",
    "x-systemd.automount",
];

impl<'a> Wanted<'a> {
    fn parse(text: &'a str) -> Result<Self> {
        let mut parts = text.split(':');
        let mut next = || parts.next().filter(|part| !part.is_empty());
        let (device, directory, options, kind) = (next(), next(), next(), next());
        let device = device.ok_or_else(|| Error::Usage(format!("-m {text}: no device is named")))?;
        let directory = directory.unwrap_or("/");
        if !directory.starts_with('/') {
            return Err(Error::Usage(format!("-m {text}: the directory {directory} must begin with /")));
        }
        Ok(Self { device, directory, options: options.map(|list| list.split(',').collect()).unwrap_or_default(), kind })
    }

    fn open(&self, stack: &Stack, at: usize) -> Result<Arc<dyn FileSystem>> {
        let refuse = |why: String| Err(Error::Usage(format!("-m {}: {why}", self.device)));
        let mut replay = true;
        for option in &self.options {
            match *option {
                "noload" | "norecovery" => replay = false,
                "rw" => return refuse("option rw: imgmount reads only".to_owned()),
                known if HARMLESS.contains(&known) => {}
                other => return refuse(format!("option {other} is not known here")),
            }
        }
        let found = stack.devices[at].contents_name();
        if let Some(kind) = self.kind
            && kind != found
            && !(kind.starts_with("ext") && found.starts_with("ext"))
        {
            return refuse(format!("it holds {found}, not {kind}"));
        }
        if !matches!(stack.devices[at].contents, Contents::Known(..)) {
            return stack.open(at).map_err(|error| Error::Usage(format!("{error}; {}", stack.candidates())));
        }
        if replay {
            return stack.open(at);
        }
        let mut options = stack.options().clone();
        options.replay = false;
        stack.open_with(at, &options)
    }
}
