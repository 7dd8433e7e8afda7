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
use crate::random::Random;

const KILLS: usize = 20;
/// How many claims are on their way at once: one more than may be filled, so that there is always a queue.
const LANES: usize = 3;
/// The longest life of a leader: most of what a fast fill takes.
const LIFE: Duration = Duration::from_millis(2500);

#[tokio::test]
async fn killed_twenty_times_at_random_moments() {
    scenario("restart", async |scene| {
        let random = Random::seeded()?;
        let keys = [("concurrency", "2"), ("retryBackoffDuration", "1s")];
        let outcome = Policy::during(&scene.bed.client, &keys, async |_| storm(scene, &random).await).await;
        outcome.with_context(|| random.again())
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
