//! MD arrays whose members Linux's own driver wrote: every level and layout, whole and degraded.
// The functions that the tests share are tests too, which clippy cannot see.
#![allow(clippy::unwrap_used)]

mod golden;
mod hostile;
mod levels;
mod places;
mod states;
