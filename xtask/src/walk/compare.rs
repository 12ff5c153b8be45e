//! Two manifests, compared: every path that only one has, every field that differs.

use std::collections::BTreeMap;
use std::fmt;

use super::{Entry, Manifest};

/// A field that a comparison may leave out, because one side cannot know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Field {
    Atime,
    Mtime,
    Ctime,
    Blocks,
    /// The sizes and link counts of directories, which each file system counts in its own way.
    Directories,
    Mode,
    Owner,
    Xattrs,
    /// Which parts of a file are data.
    Data,
    /// Nanoseconds of every time.
    Nanoseconds,
    /// The directory `lost+found`, and the root's own owner, mode and times.
    LostFound,
}

/// What differs at one path.
pub struct Difference {
    path: String,
    what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.what)
    }
}

/// Every difference of `seen` against `wanted`, but for the `ignored` fields.
pub fn compare(wanted: &Manifest, seen: &Manifest, ignored: &[Field]) -> Vec<Difference> {
    let by_root = |manifest: &Manifest| manifest.seen_by == 0;
    let one_is_not_root = !by_root(wanted) || !by_root(seen);
    let prepared = |manifest: &Manifest| -> BTreeMap<String, Entry> {
        let entries = manifest.entries.iter().cloned();
        let kept = entries.filter(|entry| !(ignored.contains(&Field::LostFound) && entry.path == "lost+found"));
        let hide_trusted = by_root(manifest) && one_is_not_root;
        kept.map(|entry| (entry.path.clone(), without(entry, ignored, hide_trusted))).collect()
    };
    let (wanted, mut seen) = (prepared(wanted), prepared(seen));
    let mut differences = Vec::new();
    for (path, wanted) in wanted {
        let mut add = |what| differences.push(Difference { path: path.clone(), what });
        match seen.remove(&path) {
            None => add("missing".to_owned()),
            Some(seen) => fields(&wanted, &seen, &mut add),
        }
    }
    differences.extend(seen.into_keys().map(|path| Difference { path, what: "should not be there".to_owned() }));
    differences
}

/// `hide_trusted` leaves out what root saw and the other side could not: `trusted.*`.
fn without(mut entry: Entry, ignored: &[Field], hide_trusted: bool) -> Entry {
    if hide_trusted {
        entry.xattrs.retain(|name, _| !name.starts_with("trusted."));
    }
    for field in ignored {
        match field {
            Field::Atime => entry.atime = (0, 0),
            Field::Mtime => entry.mtime = (0, 0),
            Field::Ctime => entry.ctime = (0, 0),
            Field::Blocks => entry.blocks = 0,
            Field::Directories if entry.kind == "directory" => (entry.size, entry.links) = (0, 0),
            Field::Mode => entry.mode = 0,
            Field::Owner => (entry.uid, entry.gid) = (0, 0),
            Field::Xattrs => entry.xattrs.clear(),
            Field::Data => entry.data = None,
            Field::Nanoseconds => {
                for time in [&mut entry.atime, &mut entry.mtime, &mut entry.ctime] {
                    time.1 = 0;
                }
            }
            Field::LostFound if entry.path == "." => {
                (entry.atime, entry.mtime, entry.ctime) = Default::default();
                (entry.uid, entry.gid, entry.mode) = Default::default();
            }
            Field::Directories | Field::LostFound => {}
        }
    }
    entry
}

fn fields(wanted: &Entry, seen: &Entry, add: &mut impl FnMut(String)) {
    macro_rules! same {
        ($($field:ident $format:literal),* $(,)?) => {$(
            if wanted.$field != seen.$field {
                add(format!(concat!(stringify!($field), " is ", $format, ", want ", $format), seen.$field, wanted.$field));
            }
        )*};
    }
    same!(
        kind "{}", mode "{:o}", uid "{}", gid "{}", size "{}", blocks "{}", links "{}", same_as "{:?}", device "{:?}",
        target "{:?}", sha256 "{:?}", mtime "{:?}", atime "{:?}", ctime "{:?}",
    );
    for (name, value) in &wanted.xattrs {
        match seen.xattrs.get(name) {
            None => add(format!("{name} is missing")),
            Some(other) if other != value => add(format!("{name} is {other:?}, want {value:?}")),
            Some(_) => {}
        }
    }
    for name in seen.xattrs.keys().filter(|name| !wanted.xattrs.contains_key(*name)) {
        add(format!("{name} should not be there"));
    }
    if let (Some(wanted), Some(seen)) = (&wanted.data, &seen.data) {
        // A hole of the image below is a hole to us and data to the kernel; the walk has read it as zeros.
        for (start, end) in seen {
            if !covered(wanted, *start, *end) {
                add(format!("{start}..{end} is data, want data in {wanted:?} only"));
            }
        }
    }
}

/// Whether the sorted `runs`, where they touch taken as one, cover `start..end`.
fn covered(runs: &[(u64, u64)], start: u64, end: u64) -> bool {
    let mut at = start;
    for (from, to) in runs {
        if *from <= at && at < *to {
            at = *to;
        }
    }
    at >= end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(entries: Vec<Entry>) -> Manifest {
        Manifest { seen_by: 0, entries }
    }

    fn entry(path: &str) -> Entry {
        Entry { path: path.to_owned(), kind: "file".to_owned(), size: 7, ..Entry::default() }
    }

    fn said(wanted: Entry, seen: Entry, ignored: &[Field]) -> Vec<String> {
        compare(&manifest(vec![wanted]), &manifest(vec![seen]), ignored).iter().map(Difference::to_string).collect()
    }

    #[test]
    fn equal_trees_have_no_differences() {
        assert!(said(entry("a"), entry("a"), &[]).is_empty());
    }

    #[test]
    fn every_field_counts() {
        let seen = Entry { size: 8, mtime: (1, 2), ..entry("a") };
        assert_eq!(said(entry("a"), seen.clone(), &[]), ["a: size is 8, want 7", "a: mtime is (1, 2), want (0, 0)"]);
        assert_eq!(said(entry("a"), seen, &[Field::Mtime]), ["a: size is 8, want 7"]);
    }

    #[test]
    fn paths_of_one_side() {
        assert_eq!(said(entry("a"), entry("b"), &[]), ["a: missing", "b: should not be there"]);
    }

    #[test]
    fn trusted_attributes_count_for_root_only() {
        let mut with = entry("a");
        with.xattrs.insert("trusted.x".to_owned(), "1".to_owned());
        assert_eq!(said(with.clone(), entry("a"), &[]), ["a: trusted.x is missing"]);
        let seen = Manifest { seen_by: 1000, entries: vec![entry("a")] };
        assert!(compare(&manifest(vec![with.clone()]), &seen, &[]).is_empty());
        let listed = Manifest { seen_by: 1000, entries: vec![with] };
        assert_eq!(compare(&manifest(vec![entry("a")]), &listed, &[]).len(), 1);
    }

    #[test]
    fn data_where_a_hole_should_be() {
        let wanted = Entry { data: Some(vec![(0, 4), (4, 8)]), ..entry("a") };
        assert!(said(wanted.clone(), Entry { data: Some(vec![(2, 6)]), ..entry("a") }, &[]).is_empty());
        assert_eq!(said(wanted, Entry { data: Some(vec![(2, 9)]), ..entry("a") }, &[]).len(), 1);
    }
}
