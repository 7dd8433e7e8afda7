//! The controller killed again and again, at moments that nobody chose, while claims come and are filled.

use std::cell::Cell;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use vmdisk_e2e::say::say;
use vmdisk_e2e::servers::Fault;
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::{Scene, scenario};

use crate::disk::Disk;
use crate::operator::kill_leader;
use crate::policy::Policy;

const KILLS: usize = 20;
/// How many claims are on their way at once: one more than may be filled, so that there is always a queue.
const LANES: usize = 3;
/// The longest life of a leader: most of what a fast fill takes.
const LIFE: Duration = Duration::from_millis(2500);

#[tokio::test]
async fn killed_twenty_times_at_random_moments() {
    scenario("restart", async |scene| {
        let random = Random::seeded()?;
        let policy = Policy::set(&scene.bed.client, &[("concurrency", "2"), ("retryBackoffDuration", "1s")]).await?;
        let outcome = storm(scene, &random).await;
        policy.reset().await?;
        outcome.with_context(|| format!("again with {SEED}={}", random.seed))
    })
    .await;
}

async fn storm(scene: &Scene, random: &Random) -> Result<()> {
    let over = Cell::new(false);
    let kills = async {
        let mut outcome = Ok(());
        for kill in 0..KILLS {
            tokio::time::sleep(LIFE.mul_f64(random.share())).await;
            outcome = kill_leader(&scene.bed.client).await.with_context(|| format!("kill {kill}"));
            if outcome.is_err() {
                break;
            }
        }
        over.set(true);
        outcome
    };
    let lanes = try_join_all((0..LANES).map(|lane| claims(scene, lane, random, &over)));
    let ((), filled) = tokio::try_join!(kills, lanes)?;
    let filled: usize = filled.iter().sum();
    say(&format!("{filled} claims were filled while the controller was killed {KILLS} times"));
    ensure!(filled > LANES, "no claim was filled while the controller was killed");
    Ok(())
}

/// One claim after the other, each filled and read, until there are no more kills; gives how many.
async fn claims(scene: &Scene, lane: usize, random: &Random, over: &Cell<bool>) -> Result<usize> {
    let mut filled = 0;
    while !over.get() {
        let name = format!("claim-{lane}-{filled}");
        // Between one and eight seconds.
        let rate = (1 << 20) << (random.next() % 4);
        let disk = Disk::publish(scene, &name, Fault { bytes_per_second: Some(rate), ..Fault::default() }).await?;
        scene.create(&objects::claim(&name, &name, "64Mi", Mode::Filesystem)?).await?;
        disk.judge(scene).await.context(name)?;
        filled += 1;
    }
    Ok(filled)
}

const SEED: &str = "VMDISK_TEST_SEED";

/// Splitmix64, from a seed that is told.
struct Random {
    seed: u64,
    state: Cell<u64>,
}

impl Random {
    /// From the environment's seed, or a new one.
    fn seeded() -> Result<Self> {
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

    fn next(&self) -> u64 {
        let state = self.state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.state.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to 1.
    fn share(&self) -> f64 {
        f64::from(u32::try_from(self.next() >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
    }
}
