//! No leaf is named outside of its folder and its table: what the program asks about one is a field.

#![allow(clippy::unwrap_used)] // An unwrap that fails fails the test.

use std::fs;
use std::path::{Path, PathBuf};

use filesystems::DRIVERS;
use images::FORMATS;
use images::crypt::CONTAINERS;
use partition::SCHEMES;

/// The tables, and the folder in which their leaves are.
const TABLES: [(&str, &str); 5] = [
    ("images/src/formats.rs", "images/src"),
    ("images/src/sources.rs", "images/src"),
    ("images/src/crypt/containers.rs", "images/src/crypt"),
    ("partition/src/schemes.rs", "partition/src"),
    ("filesystems/src/drivers.rs", "filesystems/src"),
];
/// Words that are those of a leaf, and of somebody else too.
const WORDS_OF_OTHERS: [(&str, &str, &str); 3] = [
    ("src/inspect/fstab.rs", "swap", "fstab(5) calls the entries so that mount nothing"),
    ("src/inspect/fstab_device.rs", "iso9660", "FreeBSD has /dev/iso9660/LABEL for a disc that is no part of a guest"),
    ("partition/src/bsd/kind.rs", "ext2", "FreeBSD's fstypenames have it for a partition's type"),
];
/// What is only recognised: each of its tables has a row for a name.
const SIGNATURES: &str = "filesystems/src/known";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What a source says, without its comments, its tests and the names of its modules.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let is_code = |line: &&str| {
        let line = line.trim_start();
        !line.starts_with("//") && !line.starts_with("mod ") && !line.starts_with("pub mod ")
    };
    text.lines().filter(is_code).collect::<Vec<_>>().join("\n")
}

/// The modules of the leaves in a table: `qcow2` of `qcow2::FORMAT`.
fn modules(table: &str) -> Vec<String> {
    let code = code(&root().join(table));
    let lines = code.split("pub static ").nth(1).and_then(|table| table.split("];").next()).expect("a table");
    let words = lines.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').map(|word| word.split_once("::"));
    let leaves = words.flatten().filter(|(_, name)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'));
    leaves.map(|(module, _)| module.to_owned()).filter(|module| module != "crate" && module != "super").collect()
}

/// What contents are only recognised: the names in the rows of the tables, and where a probe gives one.
fn signatures() -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root().join(SIGNATURES)).unwrap() {
        let code = code(&entry.unwrap().path());
        for before in ["row(\"", "kind: \"", "KIND: &str = \""] {
            names.extend(code.split(before).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()));
        }
    }
    names
}

/// Whether a text in these sources is this name, or one that begins with it: `md`, `md-`, `/dev/md`.
fn names_in(code: &str, name: &str) -> bool {
    let starts = ["\"", "\"/dev/"].map(|before| format!("{before}{name}"));
    starts.iter().any(|start| {
        let mut after = code.match_indices(start.as_str()).map(|(at, _)| &code[at + start.len()..]);
        after.any(|rest| rest.starts_with(['"', '-', '/', '{']))
    })
}

/// All sources of the program and its libraries, but those of tests.
fn sources() -> Vec<PathBuf> {
    let mut folders: Vec<_> =
        ["src", "images/src", "partition/src", "filesystems/src"].map(|folder| root().join(folder)).into();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap();
            if path.is_dir() && name != "tests" {
                folders.push(path);
            } else if name != "tests.rs" && path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn no_leaf_is_named_outside_of_its_folder_and_its_table() {
    let mut paths: Vec<(String, PathBuf)> = Vec::new();
    for (table, folder) in TABLES {
        paths
            .extend(modules(table).into_iter().map(|module| (format!("{module}::"), root().join(folder).join(module))));
    }
    assert!(paths.len() > 20, "{paths:?}: these are not the tables");
    let mut names: Vec<&str> = FORMATS.iter().map(|format| format.name).collect();
    names.extend(CONTAINERS.iter().flat_map(|kind| [kind.name, kind.title, kind.mapped]));
    names.extend(SCHEMES.iter().map(|scheme| scheme.name));
    names.extend(SCHEMES.iter().filter_map(|scheme| scheme.members).map(|members| members.name));
    names.extend(SCHEMES.iter().filter_map(|scheme| scheme.members?.arrays));
    names.extend(
        DRIVERS.iter().flat_map(|driver| driver.kinds.iter().copied().chain(driver.journal).chain([driver.name])),
    );
    let signatures = signatures();
    assert!(signatures.len() > 20, "{signatures:?}: these are not the signatures");
    names.extend(signatures.iter().map(String::as_str));
    names.retain(|name| !name.is_empty());
    let mut found = Vec::new();
    let sources = sources();
    assert!(sources.len() > 200, "{}: these are not the sources", sources.len());
    for source in sources {
        // One leaf may be made of another, as its specification says.
        let mut leaves = paths.iter().map(|(_, place)| place);
        let is_leaf = leaves.any(|place| source.starts_with(place) || source == place.with_extension("rs"));
        if is_leaf || TABLES.iter().any(|(table, _)| source == root().join(table)) {
            continue;
        }
        let code = code(&source);
        let source = source.strip_prefix(root()).unwrap();
        let is_of_others =
            |what: &str| WORDS_OF_OTHERS.iter().any(|(file, word, _)| source == Path::new(file) && what == *word);
        let mut say = |what: &str| {
            if !is_of_others(what) {
                found.push(format!("{}: {what}", source.display()));
            }
        };
        for (path, _) in &paths {
            let is_whole = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            if code.match_indices(path.as_str()).any(|(at, _)| is_whole(at)) {
                say(path);
            }
        }
        for name in &names {
            if names_in(&code, name) {
                say(name);
            }
        }
    }
    assert!(found.is_empty(), "leaves are named: {found:#?}");
}
