//! The options that say which images, and where in them: those of every command that reads trees.

use clap::Args;
use images::Result;

use super::{Images, wrong};
use crate::place::{DeviceAt, Selection};

/// Which images, and which trees in them. Where no tree is named, a command takes every file system in the images.
#[derive(Args, Debug, Default)]
pub struct Places {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub images: Images,
    /// Find the operating system, and take its file systems where it mounts them
    #[arg(short = 'i', long)]
    pub inspector: bool,
    /// Take this device (at /, or at the directory given); may be repeated
    #[arg(short = 'm', long = "mount", value_name = "DEVICE[:DIR[:OPTIONS[:TYPE]]]")]
    mount: Vec<String>,
    /// With -i and several systems in the images: the device of the root file system to take
    #[arg(long, value_name = "DEVICE")]
    root: Option<String>,
}

impl Places {
    /// Whether no tree is asked for.
    pub(super) fn is_empty(&self) -> bool {
        !self.inspector && self.mount.is_empty()
    }

    /// What is asked for.
    pub fn selection(&self) -> Result<Selection> {
        if self.root.is_some() && !self.inspector {
            return wrong("--root goes with -i");
        }
        let devices = self.mount.iter().map(|text| DeviceAt::parse(text)).collect::<Result<_>>()?;
        Ok(Selection { inspector: self.inspector, root: self.root.clone(), devices, ..Selection::default() })
    }
}
