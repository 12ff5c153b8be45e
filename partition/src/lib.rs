//! A disk becomes smaller disks, or several become one: partition tables, volume managers and arrays.
//!
//! A [`Scheme`] cuts its members into [`Volume`]s. It knows nothing of what is stored in them.

mod amplification;
mod apple;
mod bsd;
mod discover;
mod gpt;
pub mod lvm;
mod mbr;
mod md;
mod raid;
mod scheme;
mod schemes;
mod volume;

pub use discover::{Claim, Discovery, Found, claim, discover, divide};
pub use scheme::{Members, Scheme};
pub use schemes::SCHEMES;
pub use volume::{Built, Group, Member, Name, Volume};
