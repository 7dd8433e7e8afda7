//! Moments and places that nobody chose, and that can be had again.

use std::cell::Cell;

use anyhow::{Context as _, Result};

use crate::say::say;

const SEED: &str = "VMDISK_TEST_SEED";

/// Splitmix64, from a seed that is told.
pub struct Random {
    seed: u64,
    state: Cell<u64>,
}

impl Random {
    /// From a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed, state: Cell::new(seed) }
    }

    /// From the environment's seed, or a new one.
    ///
    /// # Errors
    /// When the environment's is no number, or the machine has no random bytes.
    pub fn seeded() -> Result<Self> {
        let seed = if let Ok(seed) = std::env::var(SEED) {
            seed.parse().with_context(|| format!("{SEED}={seed}: a number is expected"))?
        } else {
            let mut bytes = [0; 8];
            rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes).ok().context("random bytes")?;
            u64::from_ne_bytes(bytes)
        };
        say(&format!("{SEED}={seed}"));
        Ok(Self::new(seed))
    }

    /// Another, for what happens beside: what each draws does not hang on who is faster.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self::new(self.next())
    }

    /// How to have the same again.
    #[must_use]
    pub fn again(&self) -> String {
        format!("again with {SEED}={}", self.seed)
    }

    /// Any number.
    #[must_use]
    pub fn next(&self) -> u64 {
        let state = self.state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.state.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to 1.
    #[must_use]
    pub fn share(&self) -> f64 {
        f64::from(u32::try_from(self.next() >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
    }

    /// Takes one of these out; none of none.
    pub fn take<T>(&self, from: &mut Vec<T>) -> Option<T> {
        let index = self.next().checked_rem(from.len() as u64)?;
        Some(from.swap_remove(usize::try_from(index).ok()?))
    }
}
