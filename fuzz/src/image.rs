//! Image formats: the patched bytes opened, with other seeds where the image names files.

use std::path::Path;
use std::sync::Arc;

use images::{Disk, FORMATS, Opener, Request, Result};

use crate::{Patched, Seeds, exercise};

/// Opens one of the seeds under every name: extents, parents and backing files are images, too.
struct Others<'a>(&'a Seeds);

impl Opener for Others<'_> {
    fn open(&self, name: &Path, _: Option<&str>) -> Result<Arc<dyn Disk>> {
        let which = name.as_os_str().len() as u8;
        let disk = self.0.patched(&[which, 0]).expect("two bytes choose a seed");
        Ok(Arc::new(disk))
    }
}

/// Opens what `input` makes of the seeds as each of these formats, whose checksums `repair` makes right again.
pub fn image(seeds: &Seeds, formats: &[&str], repair: fn(&mut Patched), input: &[u8]) {
    let Some((how, input)) = input.split_first() else { return };
    let Some(mut file) = seeds.patched(input) else { return };
    if how % 4 != 0 {
        repair(&mut file);
    }
    let file: Arc<dyn Disk> = Arc::new(file);
    for name in formats {
        let format = FORMATS.iter().find(|format| format.name == *name).expect("the format is in the table");
        // `--format` skips the probe.
        if !(format.probe)(&*file).is_ok_and(|is| is) && how & 4 == 0 {
            continue;
        }
        match (format.open)(
            file.clone(),
            &Request { opener: &Others(seeds), snapshot: None, budget: &images::Budget::default() },
        ) {
            Ok(disk) => exercise::disk(&*disk),
            Err(error) => exercise::one_line(&error),
        }
    }
}
