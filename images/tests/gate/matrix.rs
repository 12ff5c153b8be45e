//! All kinds of chains: owners, writers, links, modes, access lists, directories, mounts and formats. The expected answer is the
//! kernel's to each user who had a say.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use images::{Error, Options};

use crate::formats::{NAMINGS, Naming, qcow2, target};
use crate::kernel::Kernel;
use crate::world::*;

const USERS: [u32; 4] = [ROOT, ALICE, BOB, DAEMON];
/// Directories in which targets lie, as an image beside them says them. `window` is a mount of `rootdir/inner`.
const PLACES: [&str; 11] = [
    ".",
    "../open",
    "../rootdir",
    "../alicedir",
    "../pass",
    "../listed",
    "../setgid",
    "../sticky",
    "../tmpfs",
    "../window",
    "../rootdir/inner",
];
const MODES: [u32; 8] = [0o600, 0o640, 0o644, 0o604, 0o400, 0o044, 0o660, 0o666];
/// Who may write an image beside its owner, and whether anyone says its format.
const AUTHORS: [(u32, bool); 5] = [(0o644, true), (0o600, true), (0o644, false), (0o666, true), (0o664, true)];

/// A sequence of numbers that is the same on every machine (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % end as u64) as usize
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// A file that images name.
struct Target {
    name: String,
    is_public: bool,
}

/// The places and what lies in them.
struct Matrix {
    world: World,
    targets: Vec<Target>,
    kernels: HashMap<(u32, u32), Kernel>,
    _mounts: Vec<Mounted>,
}

/// One image and all that leads to its target.
struct Chain {
    /// The image to open.
    top: PathBuf,
    /// What the images of the chain name, as paths, and the users and groups that had a say in each.
    named: Vec<(PathBuf, Vec<(u32, u32)>)>,
    /// Whether everyone may read all of it.
    is_public: bool,
    text: String,
}

impl Matrix {
    fn new() -> Self {
        let world = World::new();
        for (name, user, mode) in [
            ("images", ROOT, 0o755),
            ("held", ROOT, 0o700),
            ("open", ROOT, 0o755),
            ("rootdir", ROOT, 0o700),
            ("rootdir/inner", ROOT, 0o755),
            ("alicedir", ALICE, 0o700),
            ("pass", BOB, 0o711),
            ("listed", ROOT, 0o755),
            ("setgid", ROOT, 0o2775),
            ("sticky", ROOT, 0o1777),
        ] {
            world.directory(name, user, mode);
        }
        world.list("listed", ALICE, 0);
        let inner = world.path("rootdir/inner");
        let mounts = vec![
            world.mount("tmpfs", &["-t", "tmpfs", "none"]),
            world.mount("window", &["--bind", inner.to_str().unwrap()]),
        ];
        world.own("tmpfs", ROOT, ROOT, 0o755);
        let mut matrix = Self { world, targets: Vec::new(), kernels: HashMap::new(), _mounts: mounts };
        matrix.fill();
        matrix
    }

    /// Puts a file of every owner, mode and list into every place.
    fn fill(&mut self) {
        let (bytes, mut numbers) = (target(), Numbers(1));
        for place in PLACES.iter().filter(|place| **place != "../window") {
            for (owner, mode, list) in USERS.iter().flat_map(|user| {
                MODES.iter().flat_map(move |mode| [None, Some(4), Some(0)].map(move |list| (*user, *mode, list)))
            }) {
                let name = format!("t{}", self.targets.len());
                let inside = format!("images/{place}/{name}");
                let group = numbers.of(&[ROOT, owner, GROUP, DAEMON]);
                self.world.write(&inside, &bytes, owner, group, mode);
                if let Some(rights) = list {
                    self.world.list(&inside, ALICE, rights);
                }
                let is_public =
                    list.is_none() && mode & 0o444 == 0o444 && !place.contains("dir") && *place != "../listed";
                self.targets.push(Target { name: format!("{place}/{name}"), is_public });
                if *place == "../rootdir/inner" {
                    let is_public = list.is_none() && mode & 0o444 == 0o444;
                    self.targets.push(Target { name: format!("../window/{name}"), is_public });
                }
            }
        }
    }

    /// Makes a chain: links, perhaps an image between, and the image to open.
    fn chain(&self, numbers: &mut Numbers) -> Chain {
        let number = numbers.0;
        let target = &self.targets[numbers.below(self.targets.len())];
        let naming = &NAMINGS[numbers.below(NAMINGS.len())];
        let (mut links, mut authors) = (Vec::new(), Vec::new());
        let folder = if numbers.below(12) == 0 { "held" } else { "images" };
        // The targets beside the images are in `images`.
        let relative = if folder == "held" { format!("../images/{}", target.name) } else { target.name.clone() };
        let mut is_public = target.is_public && folder == "images";
        let name = self.name(folder, relative, naming, numbers, &mut links);
        let mut text = format!("{name} ({})", naming.ending);
        let path = self.world.path(folder).join(&name);

        let (mode, is_told) = numbers.of(&AUTHORS);
        let owner = numbers.of(&USERS);
        let lower = if is_told { format!("lower.{}", naming.ending) } else { "lower".to_owned() };
        self.author(&format!("{folder}/{lower}"), &(naming.image)(&name), (owner, mode, is_told), &mut authors);
        text += &format!(" in {lower} of {owner}, mode {mode:o}");
        let mut top = self.world.path(folder).join(lower);
        let mut named = Vec::new();
        if is_told && !naming.ending.ends_with("gz") && numbers.below(3) == 0 {
            let format = match naming.ending {
                "vhd" => "vpc",
                "hdd" => "parallels",
                other => other,
            };
            let (mode, is_told) = numbers.of(&AUTHORS);
            let owner = numbers.of(&USERS);
            let upper = if is_told { "upper.qcow2" } else { "upper.img" };
            let below = top.file_name().unwrap().to_str().unwrap();
            is_public &= fs::metadata(&top).unwrap().mode() & 0o444 == 0o444;
            let mut above = Vec::new();
            self.author(&format!("{folder}/{upper}"), &qcow2(below, format), (owner, mode, is_told), &mut above);
            text += &format!(" under {upper} of {owner}, mode {mode:o}");
            authors.extend(&above);
            named.push((top, above));
            top = self.world.path(folder).join(upper);
        }
        named.push((path, [authors, links].concat()));
        Chain { top, named, is_public, text: format!("{number:#x}: {text}") }
    }

    /// What the image calls the target: itself, or a link of someone.
    fn name(
        &self,
        folder: &str,
        relative: String,
        naming: &Naming,
        numbers: &mut Numbers,
        principals: &mut Vec<(u32, u32)>,
    ) -> String {
        let absolute = self.world.path(folder).join(&relative);
        let mut link = |name: &str, to: &Path, user| {
            let _ = fs::remove_file(self.world.path(name));
            self.world.link(name, to, user);
            user_of(user, principals);
        };
        let user = numbers.of(&USERS);
        match numbers.below(7) {
            0 if naming.absolute => absolute.to_str().unwrap().to_owned(),
            1 => {
                link(&format!("{folder}/file"), Path::new(&relative), user);
                "file".to_owned()
            }
            2 => {
                link(&format!("{folder}/file"), &absolute, user);
                "./file".to_owned()
            }
            3 => {
                let relative = Path::new(&relative);
                link(&format!("{folder}/directory"), relative.parent().unwrap(), user);
                format!("directory/{}", relative.file_name().unwrap().to_str().unwrap())
            }
            4 => {
                link("open/second", &absolute, user);
                link(&format!("{folder}/first"), Path::new("../open/second"), numbers.of(&USERS));
                "first".to_owned()
            }
            // Where links of others are not followed on hosts that are set up so, which the kernel knows.
            5 => {
                link("sticky/link", &absolute, user);
                "../sticky/link".to_owned()
            }
            _ => relative,
        }
    }

    /// Writes an image, and adds who may have.
    fn author(&self, name: &str, bytes: &[u8], (owner, mode, is_told): (u32, u32, bool), all: &mut Vec<(u32, u32)>) {
        self.world.write(name, bytes, owner, GROUP, mode);
        user_of(owner, all);
        match mode {
            0o666 => all.push((NOBODY, NO_GROUP)),
            0o664 => all.push((NOBODY, GROUP)),
            _ => {}
        }
        if !is_told {
            all.push((NOBODY, NO_GROUP));
        }
    }

    /// Whether all who had a say in a file open it, of all that the chain names, and `process` too.
    fn may_be_opened(&mut self, chain: &Chain, process: (u32, u32)) -> bool {
        self.all_open(&[process], &chain.top)
            && chain.named.iter().all(|(path, who)| self.all_open(&[process], path) && self.all_open(who, path))
    }

    /// Whether each of them opens the file that root finds at this path.
    fn all_open(&mut self, who: &[(u32, u32)], path: &Path) -> bool {
        let Ok(want) = fs::metadata(path) else { return false };
        who.iter().all(|(user, group)| {
            let kernel = self.kernels.entry((*user, *group)).or_insert_with(|| Kernel::of(*user, *group));
            kernel.opens(path) == Some((want.dev(), want.ino()))
        })
    }
}

/// The process that answers for this user. Who has no account is in no group.
fn user_of(user: u32, all: &mut Vec<(u32, u32)>) {
    all.push((user, if matches!(user, ROOT | DAEMON) { user } else { NO_GROUP }));
}

/// Whether the image was opened; that a rule forbids it is the only other answer, or that not even this user may.
fn opened(path: &Path, text: &str) -> bool {
    match images::open(path, &Options::default()) {
        Ok(_) => true,
        Err(error) => {
            let denied = matches!(error.root(), Error::Denied(_))
                || matches!(error.root(), Error::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied);
            assert!(denied, "{text}: {error}");
            false
        }
    }
}

#[test]
fn root_opens_what_all_who_had_a_say_could() {
    const CHAINS: usize = 12_000;
    let (mut matrix, mut numbers) = (Matrix::new(), Numbers(2));
    let mut allowed = 0;
    for _ in 0..CHAINS {
        let chain = matrix.chain(&mut numbers);
        let want = matrix.may_be_opened(&chain, (ROOT, ROOT));
        assert_eq!(opened(&chain.top, &chain.text), want, "{}: {:?}", chain.text, chain.named);
        allowed += usize::from(want);
    }
    println!("{CHAINS} chains as root, {allowed} of them allowed");
    assert!((CHAINS / 10..CHAINS * 9 / 10).contains(&allowed), "{allowed} are allowed: the chains are too much alike");
}

#[test]
fn an_ordinary_user_opens_no_more_than_that() {
    const CHAINS: usize = 12_000;
    let (mut matrix, mut numbers) = (Matrix::new(), Numbers(3));
    let (mut allowed, mut safe) = (0, 0);
    for _ in 0..CHAINS {
        let chain = matrix.chain(&mut numbers);
        let may = matrix.may_be_opened(&chain, (ALICE, NO_GROUP));
        let mut all = chain.named.iter().flat_map(|(_, who)| who);
        let is_hers = all.all(|(user, _)| matches!(*user, ROOT | ALICE));
        let is_open = as_user(ALICE, || opened(&chain.top, &chain.text));
        assert!(may || !is_open, "{}: {:?} could not", chain.text, chain.named);
        // What is hers alone, and what anyone may read, she gets.
        assert!(is_open || !may || !(is_hers || chain.is_public), "{}: {:?} could", chain.text, chain.named);
        allowed += usize::from(is_open);
        safe += usize::from(may);
    }
    println!("{CHAINS} chains as an ordinary user, {allowed} of {safe} that the kernel would allow");
    assert!((CHAINS / 20..CHAINS * 9 / 10).contains(&allowed), "{allowed} are allowed: the chains are too much alike");
}
