//! Moments and places that nobody chose, and that can be had again.

use std::cell::Cell;

use anyhow::{Context as _, Result};
use vmdisk_e2e::say::say;

const SEED: &str = "VMDISK_TEST_SEED";

/// Splitmix64, from a seed that is told.
pub(crate) struct Random {
    seed: u64,
    state: Cell<u64>,
}

impl Random {
    /// From the environment's seed, or a new one.
    pub(crate) fn seeded() -> Result<Self> {
        let seed = if let Ok(seed) = std::env::var(SEED) {
            seed.parse().with_context(|| format!("{SEED}={seed}: a number is expected"))?
        } else {
            let mut bytes = [0; 8];
            rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes).ok().context("random bytes")?;
            u64::from_ne_bytes(bytes)
        };
        say(&format!("{SEED}={seed}"));
        Ok(Self { seed, state: Cell::new(seed) })
    }

    /// How to have the same again.
    pub(crate) fn again(&self) -> String {
        format!("again with {SEED}={}", self.seed)
    }

    pub(crate) fn next(&self) -> u64 {
        let state = self.state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.state.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to 1.
    pub(crate) fn share(&self) -> f64 {
        f64::from(u32::try_from(self.next() >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
    }
}
