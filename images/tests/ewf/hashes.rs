//! The hashes that an image stores, and its description.

use images::verify::{self, Algorithm, Outcome};
use images::{Options, info};

use crate::made::*;
use crate::tools::*;

fn outcomes(folder: &Folder, name: &str) -> Vec<(Algorithm, bool)> {
    let stored = verify::stored(&folder.path(name), &Options::default()).unwrap();
    let mut read = 0;
    let outcomes = verify::check(&stored, &mut |bytes| read += bytes);
    assert_eq!(read, verify::size(&stored));
    let same = |outcome| matches!(outcome, Outcome::Same);
    stored.iter().map(|stored| stored.algorithm).zip(outcomes.into_iter().map(same)).collect()
}

#[test]
fn they_are_compared() {
    let bytes = patterned(41, 1 << 20);
    let folder = acquire(&bytes, "-d sha1 -c fast");
    assert_eq!(outcomes(&folder, "image.E01"), [(Algorithm::Md5, true), (Algorithm::Sha1, true)]);
    let mut image = folder.read("image.E01");
    let (digest, _) = section(&image, "digest");
    image[digest + 76 + 16 + 5] ^= 1;
    repair(&mut image);
    folder.write("wrong.E01", &image);
    assert_eq!(outcomes(&folder, "wrong.E01"), [(Algorithm::Md5, true), (Algorithm::Sha1, false)]);
    image[digest + 76] ^= 1;
    repair(&mut image);
    folder.write("wrong.E01", &image);
    let want = [(Algorithm::Md5, true), (Algorithm::Md5, false), (Algorithm::Sha1, false)];
    assert_eq!(outcomes(&folder, "wrong.E01"), want, "the sections differ: both are compared");
    let smart = acquire(&bytes, "-f smart");
    assert_eq!(outcomes(&smart, "image.s01"), [(Algorithm::Md5, true)]);
    // A chunk that cannot be read is no difference, but an error.
    let (sectors, _) = section(&image, "sectors");
    image[sectors + 76 + 100] ^= 1;
    folder.write("wrong.E01", &image);
    let stored = verify::stored(&folder.path("wrong.E01"), &Options::default()).unwrap();
    let outcomes = verify::check(&stored, &mut |_| ());
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Unreadable(_))), "{outcomes:?}");
    // What has no hashes has none that are wrong.
    folder.write("raw", &[0; 512]);
    assert!(verify::stored(&folder.path("raw"), &Options::default()).unwrap().is_empty());
}

#[test]
fn they_are_said() {
    let folder = acquire(&patterned(42, 1 << 20), "-d sha1 -b 128 -c fast");
    let layers = info(&folder.path("image.E01"), &Options::default()).unwrap();
    let [layer] = &layers[..] else { panic!("{layers:?}") };
    assert_eq!(layer.format, "ewf");
    assert_eq!((layer.description.virtual_size, layer.description.cluster_size), (Some(1 << 20), Some(64 << 10)));
    let specific = &layer.description.specific;
    assert_eq!((&specific["segments"], &specific["sector-size"]), (&1.into(), &512.into()));
    let sums = folder.run("md5sum source") + &folder.run("sha1sum source");
    for name in ["md5", "sha1"] {
        assert!(sums.contains(specific[name].as_str().unwrap()), "{name}: {sums}");
    }
}
