//! Encrypted volumes as disks: a table of containers, and what a secret opens in them.

mod anti_forensic;
mod bitlocker;
mod cbc;
mod ccm;
mod cipher;
mod container;
mod containers;
mod decrypted;
mod derivation;
mod elephant;
mod hash;
mod image_key;
mod luks;
mod mode;
mod sectors;
mod xts;

pub use container::{Container, Sealed};
pub use containers::{CONTAINERS, recognise, recognise_among};
pub use image_key::{Attempt, EncryptedImage, ImageKey, ImageLock, Secrets};
