//! The options of `info`, which takes its images without `-a`.

use std::path::PathBuf;

use clap::Args;

use super::images::format_help;
use super::opening::Opening;

/// The options of `info`.
#[derive(Args, Debug)]
pub struct Info {
    /// Print JSON with the field names of `qemu-img info --backing-chain --output=json`
    #[arg(long)]
    pub json: bool,
    #[arg(long, help = format_help("images"), value_name = "FORMAT")]
    format: Option<String>,
    #[command(flatten)]
    opening: Opening,
    /// Read all of the images and compare the hashes that they store: an E01's MD5 and SHA1, an appliance's manifest. The
    /// exit status is 2 if one is not right; other images store none
    #[arg(long)]
    pub verify: bool,
    /// The images
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<PathBuf>,
}

impl Info {
    /// How the images are opened.
    pub fn opening(&self) -> images::Options {
        images::Options {
            format: self.format.clone().filter(|format| !format.is_empty()),
            backing: self.opening.backing(),
            budget: self.opening.budget(),
            ..images::Options::default()
        }
    }
}
