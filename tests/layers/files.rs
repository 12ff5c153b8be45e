//! Which file of a crate names which other, by `use` or by a path, whatever it is shown as on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::slice::from_ref;

/// A file by the path of its module: `ext`, `deleted`, `search`; `lib.rs` by nothing.
pub type File = Vec<String>;

/// The files of one crate.
#[derive(Default)]
pub struct Files {
    /// The code of each, without comments, texts and tests.
    code: BTreeMap<File, String>,
    /// What each calls by a name of its own, also by `pub use`, and the path that it has for it.
    names: BTreeMap<File, BTreeMap<String, Vec<String>>>,
}

impl Files {
    /// Reads the files of the crate in this folder, tests left out.
    pub fn read(root: &Path) -> Self {
        let mut sources = Vec::new();
        super::sources(root, &mut sources);
        let mut files = Self::default();
        for source in sources {
            let path = source.strip_prefix(root).unwrap().with_extension("");
            let mut file: File = path.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
            if file.iter().any(|part| part == "tests") || file == ["main"] {
                continue;
            }
            file.pop_if(|last| *last == "mod" || *last == "lib");
            let code = code(&fs::read_to_string(&source).unwrap());
            let mut names = BTreeMap::new();
            for path in uses(&code) {
                let (path, name) = match &path[..] {
                    [path @ .., word, name] if word == "as" => (path.to_vec(), name.clone()),
                    _ => (path.clone(), path.last().unwrap().clone()),
                };
                names.insert(name, path);
            }
            files.names.insert(file.clone(), names);
            files.code.insert(file, code);
        }
        files
    }

    /// What each file names, but the files above and below it: a folder's first file is one with what is in it.
    pub fn arrows(&self) -> BTreeMap<&File, BTreeSet<&File>> {
        let arrows = self.code.iter().map(|(file, code)| {
            let paths = uses(code).into_iter().chain(paths(code));
            let named = paths.filter_map(|path| self.resolve(file, &path, 0));
            (file, named.filter(|named| !named.starts_with(file) && !file.starts_with(named)).collect())
        });
        arrows.collect()
    }

    /// The file that holds what `path` means in `file`: where it is declared, not where it is shown.
    fn resolve(&self, file: &File, path: &[String], depth: usize) -> Option<&File> {
        let (mut at, mut rest) = (file.clone(), path);
        match path.first()?.as_str() {
            "crate" => (at, rest) = (File::new(), &path[1..]),
            "self" => rest = &path[1..],
            "super" => {}
            _ if self.code.contains_key(&[&file[..], from_ref(&path[0])].concat()) => {}
            name => {
                let meant = self.names.get(file)?.get(name).filter(|meant| meant[..] != *path && depth < 8)?;
                return self.resolve(file, &[meant, &path[1..]].concat(), depth + 1);
            }
        }
        while let [name, after @ ..] = rest {
            let below = [&at[..], from_ref(name)].concat();
            if name == "super" {
                at.pop();
            } else if self.code.contains_key(&below) {
                at = below;
            } else if let Some(meant) = self.names.get(&at)?.get(name).filter(|meant| meant[..] != *path && depth < 8) {
                let shown = self.resolve(&at, &[meant, after].concat(), depth + 1);
                return shown.or_else(|| Some(self.code.get_key_value(&at)?.0));
            } else {
                break;
            }
            rest = after;
        }
        Some(self.code.get_key_value(&at)?.0)
    }
}

/// A source without its comments, what stands in quotes, and its tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = text.lines().map(|line| line.split("//").next().unwrap());
    let parts = lines.flat_map(|line| line.split('"').step_by(2).chain(["\n"]));
    parts.collect()
}

/// The paths that `use` lines list, each in full; with the words `as` and the name, if it gets another.
fn uses(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for part in words(code).split(|word| word == ";") {
        let Some(start) = part.iter().rposition(|word| word == "use") else { continue };
        // What stands before each brace that is open.
        let (mut before, mut path) = (Vec::new(), Vec::new());
        for word in part[start + 1..].iter().chain([&",".to_owned()]) {
            match word.as_str() {
                "::" => {}
                "{" => before.push(path.clone()),
                "," | "}" => {
                    let is_new = !path.is_empty() && Some(&path) != before.last();
                    path.pop_if(|last| *last == "self" || *last == "*");
                    found.extend(is_new.then_some(path));
                    // Behind a brace that closes, nothing is named until the next comma.
                    path = if word == "," { before.last().cloned().unwrap_or_default() } else { Vec::new() };
                    before.pop_if(|_| word == "}");
                }
                _ => path.push(word.clone()),
            }
        }
    }
    found
}

/// The paths that stand elsewhere: names with `::` between them.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut paths = vec![Vec::new()];
    for part in words(code).split(|word| word == ";") {
        let mut goes_on = false;
        for word in part.iter().take_while(|word| *word != "use") {
            if !goes_on && word != "::" {
                paths.push(Vec::new());
            }
            goes_on = word == "::";
            if word.chars().all(super::is_of_name) {
                paths.last_mut().unwrap().push(word.clone());
            }
        }
    }
    paths.retain(|path| path.len() > 1);
    paths
}

/// Names, `::`, and what else there is, one by one.
fn words(code: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut is_open = false;
    for letter in code.chars() {
        let is_of_name = super::is_of_name(letter);
        match words.last_mut() {
            Some(last) if is_of_name && is_open => last.push(letter),
            Some(last) if letter == ':' && last == ":" => last.push(letter),
            _ if letter.is_whitespace() => {}
            _ => words.push(letter.to_string()),
        }
        is_open = is_of_name;
    }
    words
}
