//! Images that claim far more than they hold: made deeper and wider than those in `tests/golden/hostile`.

pub mod ext;
pub mod fat;
pub mod gpt;
pub mod lvm;

/// Puts `value` into `bytes` at `at`, in little-endian order.
fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}
