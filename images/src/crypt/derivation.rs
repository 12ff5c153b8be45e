//! From a passphrase to a key: PBKDF2 and Argon2, with bounds on what a header may ask for.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroize;

use super::hash::Hash;
use crate::{Error, Result, unsupported};

/// How many HMACs one derivation may cost; ours: a minute or so. cryptsetup takes as many as two seconds give.
const MAX_HMACS: u64 = 100_000_000;
/// How many of these all derivations that one secret starts may cost together; ours.
const TOTAL_HMACS: u64 = 4 * MAX_HMACS;
/// How much memory Argon2 may take, in KiB: cryptsetup's bound.
const MAX_ARGON2_MEMORY: u32 = 4 << 20;
/// How many lanes it may have; cryptsetup makes at most 4.
const MAX_ARGON2_LANES: u32 = 16;
/// How many KiB one derivation may fill, over all its passes; ours: a minute or so.
const MAX_ARGON2_FILLED: u64 = 64 << 20;
/// How many of these all derivations that one secret starts may fill together; ours.
const TOTAL_ARGON2_FILLED: u64 = 4 * MAX_ARGON2_FILLED;

/// A key derivation function and its parameters, but for the length of the key.
pub(super) enum Derivation {
    Pbkdf2 { hash: Hash, iterations: u32 },
    Argon2 { algorithm: Algorithm, passes: u32, memory: u32, lanes: u32 },
}

/// What is left of the work that one secret may cost.
pub(super) struct Budget {
    hmacs: u64,
    filled: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { hmacs: TOTAL_HMACS, filled: TOTAL_ARGON2_FILLED }
    }
}

impl Derivation {
    /// Fills `key`. Fails with `Unsupported` if that is more work than is allowed, before any is done.
    pub(super) fn derive(&self, secret: &[u8], salt: &[u8], key: &mut [u8], budget: &mut Budget) -> Result<()> {
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
                budget.hmacs = spent(budget.hmacs, cost)?;
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
                budget.filled = spent(budget.filled, filled)?;
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
    let machine = rustix::system::sysinfo();
    let machine_memory = (machine.totalram as u64).saturating_mul(machine.mem_unit.into()) >> 10;
    if u64::from(memory) > machine_memory {
        return Err(unsupported!(
            "a key derivation that needs {memory} KiB of memory: this machine has {machine_memory} KiB"
        ));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_without_end_is_refused_before_it_starts() {
        let mut key = [0; 64];
        let mut derive = |derivation: Derivation| derivation.derive(b"x", &[0; 32], &mut key, &mut Budget::default());
        for iterations in [0, 50_000_001, u32::MAX] {
            let error = derive(Derivation::Pbkdf2 { hash: Hash::Sha256, iterations }).unwrap_err().to_string();
            assert!(error.contains(&iterations.to_string()), "{error}");
        }
        for (passes, memory, lanes) in
            [(u32::MAX, 8, 1), (1, u32::MAX, 1), (1, 1 << 20, u32::MAX), (0, 8, 1), (1, 0, 0)]
        {
            let error =
                derive(Derivation::Argon2 { algorithm: Algorithm::Argon2id, passes, memory, lanes }).unwrap_err();
            assert!(matches!(error, Error::Unsupported(_)), "{error}");
        }
    }

    #[test]
    fn the_slots_share_what_is_allowed() {
        let mut budget = Budget { hmacs: 5, filled: 0 };
        let derivation = Derivation::Pbkdf2 { hash: Hash::Sha1, iterations: 3 };
        derivation.derive(b"x", b"salt", &mut [0; 20], &mut budget).unwrap();
        assert!(derivation.derive(b"x", b"salt", &mut [0; 20], &mut budget).is_err());
    }
}
