//! The options of `info`, which takes its images without `-a`.

use std::path::PathBuf;

use clap::Args;
use images::{Budget, Storage};

use super::images::{backing, format_help};
use super::size;

/// The options of `info`.
#[derive(Args, Debug)]
pub struct Info {
    /// Print JSON with the field names of `qemu-img info --backing-chain --output=json`
    #[arg(long)]
    pub json: bool,
    #[arg(long, help = format_help("images"), value_name = "FORMAT")]
    format: Option<String>,
    /// Which files the images may name: those that all can read who had a say in the name (owner); any (follow); none
    #[arg(long, value_name = "POLICY", default_value = "owner", value_parser = ["owner", "follow", "none"])]
    backing: String,
    /// How much memory the images may make the program hold at most: caches, tables, lists (256M, 1G)
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = size::bytes)]
    memory: u64,
    /// How much may be decompressed to temporary files at most (20G); half of what is free there if not given
    #[arg(long, value_name = "SIZE", value_parser = size::bytes)]
    unpack_limit: Option<u64>,
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
            backing: backing(&self.backing),
            budget: Budget::with_storage(self.memory, Storage::new(self.unpack_limit)),
            ..images::Options::default()
        }
    }
}
