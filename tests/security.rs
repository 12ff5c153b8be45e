//! SECURITY.md names a test for each promise, and these exist.

#![allow(clippy::unwrap_used)] // An unwrap that fails fails the test.

use std::fs;
use std::path::Path;

/// The text of all tests and sources below a directory.
fn sources(directory: &Path, all: &mut String) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            all.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_promise_has_its_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = String::new();
    for folder in ["images", "partition", "filesystems", "src", "tests", "xtask"] {
        sources(&root.join(folder), &mut all);
    }
    let page = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let table = page.split("| of what | promise | test |").nth(1).expect("the table of promises").lines().skip(2);
    let mut promises = 0;
    for line in table.take_while(|line| line.starts_with('|')) {
        let tests = line.trim_end_matches([' ', '|']).rsplit('|').next().unwrap();
        let names: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test: {line}");
        for name in names {
            let function = name.rsplit([':', ' ']).next().unwrap();
            assert!(all.contains(&format!("fn {function}(")), "no test {name}");
        }
        promises += 1;
    }
    assert!(promises >= 10, "{promises} promises are found");
}
