//! What may know what in a crate: modules make no circle, files make none, and only the command line knows the command line.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use files::Files;

mod files;

/// The folders of the crates in which nothing makes a circle.
const CRATES: [&str; 4] = ["src", "images/src", "partition/src", "filesystems/src"];

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// The modules of the crate in this folder, and which others the files of each name, tests left out.
fn modules(folder: &str) -> BTreeMap<String, BTreeSet<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let shown = exports(&fs::read_to_string(root.join("lib.rs")).unwrap());
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut modules: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files {
        let module = file.strip_prefix(&root).unwrap().iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        let is_test = file.ancestors().any(|part| part.file_stem().is_some_and(|name| name == "tests"));
        if module == "main" || module == "lib" || is_test {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let text: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let named = modules.entry(module.to_owned()).or_default();
        for after in text.split("crate::").skip(1) {
            // One name, or several in braces.
            let end = if after.starts_with('{') { after.find('}') } else { after.find(|c: char| !is_of_name(c)) };
            let names = after[..end.unwrap_or(after.len())].split(|c| !is_of_name(c));
            let names = names.map(|name| shown.get(name).map_or(name, String::as_str));
            named.extend(names.filter(|name| *name != module).map(str::to_owned));
        }
        if text.contains("use clap") {
            named.insert("clap".to_owned());
        }
    }
    modules
}

/// Where what `lib.rs` shows by a name of its own comes from: `Format` from `format`.
fn exports(lib: &str) -> BTreeMap<String, String> {
    let mut exports = BTreeMap::new();
    for line in lib.split(';').filter_map(|line| line.trim_start().strip_prefix("pub use ")) {
        let (module, names) = line.split_once("::").unwrap();
        for name in names.split(|c| !is_of_name(c)).filter(|name| !name.is_empty() && *name != module) {
            exports.insert(name.to_owned(), module.to_owned());
        }
    }
    exports
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[test]
fn modules_make_no_circle() {
    let all = CRATES.map(modules);
    assert!(all[0].len() > 20 && all[0]["commands"].contains("cli"), "{all:?}");
    assert!(all[1].len() > 20 && all[1]["gate"].contains("format"), "{all:?}");
    for modules in all {
        check(&modules);
    }
}

/// A folder's first file and what is in the folder are one: what else a file names does not lead back to it.
#[test]
fn files_make_no_circle() {
    for folder in CRATES {
        let files = Files::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
        let arrows = files.arrows();
        let count: usize = arrows.values().map(BTreeSet::len).sum();
        assert!(arrows.len() > 20 && count > arrows.len(), "{folder}: {count} of {}", arrows.len());
        let path = |file: &files::File| format!("{folder}/{}", file.join("/"));
        let named = arrows.iter().map(|(file, named)| (path(file), named.iter().map(|file| path(file)).collect()));
        check(&named.collect());
    }
}

fn check(modules: &BTreeMap<String, BTreeSet<String>>) {
    for module in modules.keys() {
        let (mut reached, mut next) = (BTreeSet::new(), vec![module]);
        while let Some(at) = next.pop() {
            for named in modules.get(at).into_iter().flatten().filter(|named| modules.contains_key(*named)) {
                assert_ne!(named, module, "{module} names itself by way of {at}");
                if reached.insert(named) {
                    next.push(named);
                }
            }
        }
    }
}

#[test]
fn what_does_the_work_does_not_know_the_command_line() {
    for (module, named) in modules("src") {
        let may = module == "cli" || module == "commands";
        for line in ["cli", "commands", "clap"] {
            assert!(may || !named.contains(line), "{module} names {line}");
        }
    }
}
