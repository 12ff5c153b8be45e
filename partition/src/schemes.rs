//! The table of schemes: a line for each.

use crate::scheme::Scheme;
use crate::{apple, bsd, gpt, lvm, mbr, md};

/// Every scheme. All are asked; of two that match the precedence decides.
pub static SCHEMES: &[Scheme] = &[mbr::SCHEME, gpt::SCHEME, bsd::SCHEME, apple::SCHEME, md::SCHEME, lvm::SCHEME];
