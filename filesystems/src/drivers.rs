//! The table of drivers: a line for each.

use crate::driver::Driver;
use crate::{ext, fat, known};

/// Every driver. All are asked; of two that match the precedence decides.
pub static DRIVERS: &[Driver] = &[known::CONTAINER, known::CONTENTS, ext::DRIVER, fat::DRIVER];
