//! What comes back, compared with what was deleted.

use super::*;

/// The full content of a node; `None` if a part cannot be read.
pub fn read(fs: &dyn FileSystem, node: NodeId) -> Option<Vec<u8>> {
    let size = fs.stat(node).unwrap().size;
    if size > 100 << 20 {
        return None;
    }
    let mut bytes = vec![0; size as usize];
    let len = fs.read_at(node, &mut bytes, 0).ok()?;
    assert_eq!(len, bytes.len(), "short");
    Some(bytes)
}

/// The paths of all living directories.
pub fn living(fs: &dyn FileSystem) -> BTreeMap<NodeId, String> {
    let mut paths = BTreeMap::from([(fs.root(), String::new())]);
    let mut todo = vec![fs.root()];
    while let Some(node) = todo.pop() {
        let mut found = Vec::new();
        fs.read_dir(node, 0, &mut |entry| {
            found.push((entry.node, String::from_utf8_lossy(entry.name).into_owned()));
            true
        })
        .unwrap();
        for (child, name) in found {
            if fs.stat(child).unwrap().kind == Kind::Directory {
                paths.insert(child, format!("{}{name}/", paths[&node]));
                todo.push(child);
            }
        }
    }
    paths
}

pub fn path(list: &[Deleted], living: &BTreeMap<NodeId, String>, deleted: &Deleted) -> Option<String> {
    let name = String::from_utf8_lossy(deleted.name.as_deref()?).into_owned();
    Some(match deleted.parent {
        Parent::Live(node) => format!("{}{name}", living.get(&node)?),
        Parent::Deleted(node) => {
            let parent = list.iter().find(|other| other.node == node).expect("a parent is in the list");
            format!("{}/{name}", path(list, living, parent)?)
        }
        Parent::Unknown => return None,
    })
}

/// What came back of a set of files.
#[derive(Debug, Default)]
pub struct Score {
    pub files: usize,
    pub content: usize,
    pub intact: usize,
    pub named: usize,
    pub missing: Vec<String>,
}

/// Compares what is found with what was deleted; `known` are the hashes of everything that was ever a file. Fails if
/// anything is called intact and has a hash that is not among them.
pub fn score(name: &str, fs: &dyn FileSystem, deleted: &Files, known: &dyn Fn(&str, &str) -> bool) -> Score {
    let start = std::time::Instant::now();
    let list = fs.forensics().unwrap().deleted().unwrap();
    let took = start.elapsed();
    let paths = living(fs);
    let mut by_hash: BTreeMap<String, Vec<Option<String>>> = BTreeMap::new();
    let mut intact: BTreeMap<String, usize> = BTreeMap::new();
    for entry in list.iter() {
        let stat = fs.stat(entry.node).unwrap();
        if stat.kind != Kind::File || entry.state == State::MetadataOnly {
            continue;
        }
        let found = path(&list, &paths, entry);
        let bytes = read(fs, entry.node);
        if entry.state == State::Intact {
            let bytes = bytes.as_ref().unwrap_or_else(|| panic!("{name}: intact and unreadable: {entry:?}"));
            let hash = hash(bytes);
            let at = found.clone().unwrap_or_default();
            assert!(known(&at, &hash), "{name}: {at:?} is called intact and is wrong: {entry:?} {stat:?}");
            *intact.entry(hash).or_default() += 1;
        }
        if let Some(bytes) = bytes {
            by_hash.entry(hash(&bytes)).or_default().push(found);
        }
    }
    let mut score = Score { files: deleted.len(), ..Score::default() };
    for (path, hash) in deleted {
        match by_hash.get(hash) {
            Some(found) => {
                score.content += 1;
                score.named += usize::from(found.iter().any(|found| found.as_deref() == Some(path)));
                score.intact += usize::from(intact.contains_key(hash));
            }
            None => score.missing.push(path.clone()),
        }
    }
    println!(
        "{name}: {} of {} came back, {} intact, {} under their path; list of {} in {took:?}",
        score.content,
        score.files,
        score.intact,
        score.named,
        list.len()
    );
    score
}
