//! Chaos on the nodes: controller, kubelet, containerd, provisioner, API server and etcd are killed at moments that nobody
//! chose, beside claims that come, are filled and go. Afterwards every claim holds its disk byte for byte, nothing of ours
//! is left, and nothing was fetched that was not counted first.
//!
//! Not a libtest: it has options, and the result is a table. `cargo test --test chaos -- [--minutes N] [--claims N]
//! [--seed S]`; named (`-- chaos`), it takes as long as it is worth.

mod claims;
mod images;
mod judge;
mod kills;
mod left;
mod options;
mod table;

use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::say::{say, say_out};
use vmdisk_e2e::testing::policy::Policy;
use vmdisk_e2e::testing::random::Random;
use vmdisk_e2e::testing::{Scene, scenario};

use claims::Claim;
use options::{NAME, Options};

/// The defaults are for days, not for minutes. The limits stay what they are.
const POLICY: [(&str, &str); 4] =
    [("concurrency", "6"), ("retryBackoffDuration", "5s"), ("retryBackoffMax", "20s"), ("startTimeout", "2m")];

fn main() -> Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    if !options.wanted {
        return Ok(());
    }
    if options.list {
        return say_out(&format!("{NAME}: test"));
    }
    let runtime = tokio::runtime::Runtime::new().context("cannot start the asynchronous runtime")?;
    runtime.block_on(scenario(NAME, async |scene| {
        let random = options.seed.map_or_else(Random::seeded, |seed| Ok(Random::new(seed)))?;
        let run = async |_: &Policy| chaos(scene, &options, &random).await;
        Policy::during(&scene.bed.client, &POLICY, run).await.with_context(|| random.again())
    }));
    Ok(())
}

async fn chaos(scene: &Scene, options: &Options, random: &Random) -> Result<()> {
    images::prepare(scene).await?;
    let mut claims = publish(scene, options, random).await?;
    say(&format!("{} claims are to come, and {:?} of kills", claims.len(), options.span));
    let began = Instant::now();
    let kills_random = random.fork();
    let storm = kills::storm(scene, &kills_random, began, options.span);
    let outcome = tokio::try_join!(storm, claims::live(scene, &mut claims, began));
    if outcome.is_err() {
        // The other may have been in the middle of a kill.
        kills::calm(scene, &Instance::current()?).await?;
    }
    let (kills, ()) = outcome?;
    say(&format!("all claims are bound or gone after {:?}, killed {} times", began.elapsed(), kills.total()));
    let verdict = judge::judge(scene, &claims).await?;
    for what in verdict.held.held.iter().chain(&verdict.left.unknown) {
        say(&format!("left by the bed: {what}"));
    }
    images::withdraw(scene)?;
    say_out(&table::table(options, &kills, &claims, &verdict))?;
    if verdict.faults.is_empty() {
        return Ok(());
    }
    bail!("{} faults:\n{}", verdict.faults.len(), verdict.faults.join("\n"))
}

/// Plans every claim and publishes its image.
async fn publish(scene: &Scene, options: &Options, random: &Random) -> Result<Vec<Claim>> {
    let scratch = tempfile::tempdir().context("no directory for images")?;
    let mut claims = Vec::new();
    for (number, plan) in claims::plans(&random.fork(), options.claims, options.span).into_iter().enumerate() {
        let name = format!("claim-{number}");
        let image = images::publish(scene, &name, plan.source, random, scratch.path()).await?;
        claims.push(Claim::new(name, plan, image));
    }
    Ok(claims)
}
