//! From a passphrase to a key: PBKDF2 and Argon2, with bounds on what a header may ask for.
//!
//! The memory of Argon2 is no part of the program's [`Budget`](crate::Budget): to take much of it is what the function is
//! for. It is taken by one derivation at a time, given back before the next, and only if the host has it free.

use std::fs;
use std::sync::{Mutex, PoisonError};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroize;

use super::hash::Hash;
use crate::{Error, Result, unsupported};

/// How many HMACs one derivation may cost; ours: a minute or so. cryptsetup takes as many as two seconds give.
const MAX_HMACS: u64 = 100_000_000;
/// How many of these all derivations that one secret starts may cost together; ours.
const TOTAL_HMACS: u64 = 4 * MAX_HMACS;
/// How much memory Argon2 may take, in KiB: what cryptsetup makes at most (`crypt_pbkdf_get_limits`).
const MAX_ARGON2_MEMORY: u32 = 4 << 20;
/// How many lanes it may have; as many as cryptsetup makes at most.
const MAX_ARGON2_LANES: u32 = 4;
/// How many KiB one derivation may fill, over all its passes; ours: a minute or so.
const MAX_ARGON2_FILLED: u64 = 64 << 20;
/// How many of these all derivations that one secret starts may fill together; ours.
const TOTAL_ARGON2_FILLED: u64 = 4 * MAX_ARGON2_FILLED;

/// From how many HMACs, or KiB filled, on a derivation is long: about half a second.
const LONG_HMACS: u64 = 1_000_000;
const LONG_FILLED: u64 = 512 << 10;

/// Held by the derivation that has the memory: several at once, of volumes that other threads open, would add up.
static MEMORY: Mutex<()> = Mutex::new(());

/// A key derivation function and its parameters, but for the length of the key.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Derivation {
    Pbkdf2 { hash: Hash, iterations: u32 },
    Argon2 { algorithm: Algorithm, passes: u32, memory: u32, lanes: u32 },
}

/// What is left of the work that one secret may cost.
pub(super) struct Work {
    hmacs: u64,
    filled: u64,
}

impl Default for Work {
    fn default() -> Self {
        Self { hmacs: TOTAL_HMACS, filled: TOTAL_ARGON2_FILLED }
    }
}

#[cfg(test)]
impl Work {
    /// How many HMACs are left.
    pub(super) fn hmacs(&self) -> u64 {
        self.hmacs
    }
}

impl Derivation {
    /// What takes long in it, for people; `None` if nothing does.
    pub(super) fn long(&self) -> Option<String> {
        match *self {
            Self::Pbkdf2 { iterations, .. } => {
                (u64::from(iterations) >= LONG_HMACS).then(|| format!("{iterations} iterations"))
            }
            Self::Argon2 { passes, memory, .. } => (u64::from(passes).saturating_mul(memory.into()) >= LONG_FILLED)
                .then(|| format!("{passes} passes over {} MiB of memory", memory >> 10)),
        }
    }

    /// Fills `key`. Fails with `Unsupported` if that is more work than is allowed, before any is done.
    pub(super) fn derive(&self, secret: &[u8], salt: &[u8], key: &mut [u8], work: &mut Work) -> Result<()> {
        match *self {
            Self::Pbkdf2 { hash, iterations } => {
                let pieces = key.len().div_ceil(hash.len()) as u64;
                let cost = u64::from(iterations).saturating_mul(pieces);
                if iterations == 0 || cost > MAX_HMACS {
                    return Err(unsupported!(
                        "a key derivation of {iterations} iterations: between 1 and {} are allowed",
                        MAX_HMACS / pieces.max(1)
                    ));
                }
                work.hmacs = spent(work.hmacs, cost)?;
                hash.pbkdf2(secret, salt, iterations, key);
                Ok(())
            }
            Self::Argon2 { algorithm, passes, memory, lanes } => {
                let filled = u64::from(passes).saturating_mul(memory.into());
                if memory > MAX_ARGON2_MEMORY || lanes > MAX_ARGON2_LANES || filled > MAX_ARGON2_FILLED {
                    return Err(unsupported!(
                        "a key derivation of {passes} passes over {memory} KiB in {lanes} lanes: at most \
                         {MAX_ARGON2_MEMORY} KiB, {MAX_ARGON2_FILLED} KiB in all passes and {MAX_ARGON2_LANES} lanes \
                         are allowed"
                    ));
                }
                work.filled = spent(work.filled, filled)?;
                argon2(algorithm, (passes, memory, lanes), secret, salt, key)
            }
        }
    }
}

fn spent(left: u64, cost: u64) -> Result<u64> {
    left.checked_sub(cost).ok_or_else(|| unsupported!("the key slots together ask for more work than is allowed"))
}

fn argon2(
    algorithm: Algorithm,
    (passes, memory, lanes): (u32, u32, u32),
    secret: &[u8],
    salt: &[u8],
    key: &mut [u8],
) -> Result<()> {
    let refused = |error: argon2::Error| unsupported!("a key derivation with Argon2: {error}");
    let _alone = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(free) = free_memory().filter(|free| u64::from(memory) > *free) {
        return Err(Error::Memory(format!(
            "the key derivation needs {memory} KiB of memory, and only {free} KiB are free on this machine: end other \
             programs, or open it on a larger one"
        )));
    }
    let params = Params::new(memory, passes, lanes, Some(key.len())).map_err(refused)?;
    let mut blocks: Vec<Block> = Vec::new();
    let count = params.block_count();
    blocks.try_reserve_exact(count).map_err(|_| {
        Error::io(format!("no {memory} KiB of memory for the key derivation"), std::io::ErrorKind::OutOfMemory.into())
    })?;
    blocks.resize(count, Block::default());
    let argon2 = Argon2::new(algorithm, Version::V0x13, params);
    let done = argon2.hash_password_into_with_memory(secret, salt, key, &mut blocks).map_err(refused);
    blocks.iter_mut().for_each(Zeroize::zeroize);
    done
}

/// How much memory programs may take without swapping, in KiB: of the machine, or of the control group that this
/// process is in, if that has less. `None` if the host does not say.
fn free_memory() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text));
    let group = fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| {
        let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
        let number = |name: &str| fs::read_to_string(format!("/sys/fs/cgroup{path}/{name}")).ok()?.trim().parse().ok();
        let (most, used): (u64, u64) = (number("memory.max")?, number("memory.current")?);
        Some(most.saturating_sub(used) >> 10)
    });
    machine.into_iter().chain(group).min()
}

/// What the text of `/proc/meminfo` says to be available, in KiB.
fn available(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_without_end_is_refused_before_it_starts() {
        let mut key = [0; 64];
        let mut derive = |derivation: Derivation| derivation.derive(b"x", &[0; 32], &mut key, &mut Work::default());
        for iterations in [0, 50_000_001, u32::MAX] {
            let error = derive(Derivation::Pbkdf2 { hash: Hash::Sha256, iterations }).unwrap_err().to_string();
            assert!(error.contains(&iterations.to_string()), "{error}");
        }
        for (passes, memory, lanes) in
            [(u32::MAX, 8, 1), (1, u32::MAX, 1), (1, (4 << 20) + 1, 1), (1, 1 << 10, 5), (0, 8, 1), (1, 0, 0)]
        {
            let error =
                derive(Derivation::Argon2 { algorithm: Algorithm::Argon2id, passes, memory, lanes }).unwrap_err();
            assert!(matches!(error, Error::Unsupported(_)), "{error}");
        }
    }

    #[test]
    fn the_host_says_what_is_free() {
        let text = "MemTotal:       16000000 kB\nMemFree:          200000 kB\nMemAvailable:    9000000 kB\n";
        assert_eq!(available(text), Some(9_000_000));
        assert_eq!(available("MemTotal: 5 kB\n"), None);
        assert!(free_memory().is_some_and(|free| free > 0));
    }

    #[test]
    fn only_what_takes_long_is_said() {
        let argon2 = |passes, memory| Derivation::Argon2 { algorithm: Algorithm::Argon2id, passes, memory, lanes: 4 };
        assert_eq!(argon2(16, 4 << 20).long().unwrap(), "16 passes over 4096 MiB of memory");
        assert_eq!(argon2(4, 32).long(), None);
        assert!(Derivation::Pbkdf2 { hash: Hash::Sha1, iterations: 1000 }.long().is_none());
    }

    #[test]
    fn the_slots_share_what_is_allowed() {
        let mut work = Work { hmacs: 5, filled: 0 };
        let derivation = Derivation::Pbkdf2 { hash: Hash::Sha1, iterations: 3 };
        derivation.derive(b"x", b"salt", &mut [0; 20], &mut work).unwrap();
        assert!(derivation.derive(b"x", b"salt", &mut [0; 20], &mut work).is_err());
    }
}
