//! No leaf is named outside of its folder and its table: what the program asks about one is a field.

#![allow(clippy::unwrap_used)] // An unwrap that fails fails the test.

use std::fs;
use std::path::{Path, PathBuf};

use images::FORMATS;
use images::crypt::CONTAINERS;
use partition::SCHEMES;

/// The tables, and the folder in which their leaves are.
const TABLES: [(&str, &str); 4] = [
    ("images/src/formats.rs", "images/src"),
    ("images/src/sources.rs", "images/src"),
    ("images/src/crypt/containers.rs", "images/src/crypt"),
    ("partition/src/schemes.rs", "partition/src"),
];
/// What is a leaf of another table: contents that are only recognised are named as blkid names them.
const OTHERS: [&str; 1] = ["filesystems/src/known"];

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
    names.retain(|name| !name.is_empty());
    let others = OTHERS.map(|folder| root().join(folder));
    let mut found = Vec::new();
    let sources = sources();
    assert!(sources.len() > 200, "{}: these are not the sources", sources.len());
    for source in sources {
        // One leaf may be made of another, as its specification says.
        let leaf = paths.iter().map(|(_, place)| place).chain(&others);
        let is_leaf = leaf.into_iter().any(|place| source.starts_with(place) || source == place.with_extension("rs"));
        if is_leaf || TABLES.iter().any(|(table, _)| source == root().join(table)) {
            continue;
        }
        let code = code(&source);
        let mut say = |what: &str| found.push(format!("{}: {what}", source.strip_prefix(root()).unwrap().display()));
        for (path, _) in &paths {
            let is_whole = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            if code.match_indices(path.as_str()).any(|(at, _)| is_whole(at)) {
                say(path);
            }
        }
        for name in &names {
            if code.contains(&format!("\"{name}\"")) {
                say(name);
            }
        }
    }
    assert!(found.is_empty(), "leaves are named: {found:#?}");
}
