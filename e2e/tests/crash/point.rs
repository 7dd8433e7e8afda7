//! One try: a life with one thing that happens in it, its end judged, and nothing of it left for the next.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use vmdisk_e2e::stage::tap::{Disturbance, Plan, Strike, Write};
use vmdisk_e2e::stage::{Controller, Stage};

use crate::judge::{judge, undisturbed};
use crate::lives::Life;
use crate::scene::{Scene, Sight};

/// What happens in a life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trial {
    /// Nothing.
    Calm,
    /// One thing, at one write.
    Struck(Plan),
    /// The watches of a resource are disturbed.
    Disturbed(&'static str, Disturbance),
    /// Two controllers lead from the beginning.
    Twins,
}

/// What came of a try.
pub(crate) struct Tried {
    /// Whether what was planned happened.
    pub(crate) struck: bool,
    /// The writes of the first controller.
    pub(crate) writes: Vec<Write>,
    /// How often the image was fetched.
    pub(crate) fetches: usize,
    /// How long it took.
    pub(crate) took: Duration,
}

/// Tries.
pub(crate) async fn attempt(stage: &Stage, life: &Life, name: &str, trial: &Trial) -> Result<Tried> {
    stage.clear_log();
    stage
        .policy(&[
            ("concurrency", life.concurrency),
            ("retryLimit", "2"),
            ("retryBackoffDuration", "100ms"),
            ("retryBackoffMax", "200ms"),
            ("missingRetryInterval", "100ms"),
            ("deniedRetryInterval", "100ms"),
        ])
        .await?;
    let start = Instant::now();
    let (plan, disturbance) = match trial {
        Trial::Struck(plan) => (Some(*plan), None),
        Trial::Disturbed(resource, disturbance) => (None, Some(((*resource).to_owned(), *disturbance))),
        Trial::Calm | Trial::Twins => (None, None),
    };
    let mut first = stage.disturbed(plan, disturbance).await?;
    first.ready().await?;
    let mut second = None;
    if *trial == Trial::Twins {
        let mut twin = stage.controller().await?;
        twin.ready().await?;
        second = Some(twin);
    }
    let scene = Scene::begin(stage, life, name).await?;
    let outcome = through(stage, &scene, &first, &mut second, plan).await;
    let (struck, writes) = (first.tap.is_struck(), first.tap.writes());
    drop((first, second));
    let judged = outcome
        .and_then(|(sight, attempts)| {
            let fetches = judge(&scene, life.ending, &sight, attempts, &mut stage.actor.account())?;
            if *trial == Trial::Calm {
                undisturbed(life, attempts, &writes)?;
            }
            Ok(fetches)
        })
        .with_context(|| format!("the first controller's writes were: {}", listing(&writes)));
    let took = start.elapsed();
    let ended = scene.end().await;
    let fetches = judged?;
    ended.context("after the try")?;
    Ok(Tried { struck, writes, fetches, took })
}

/// Goes through a life to its end, with a second controller once the first has been struck down or held up.
async fn through(
    stage: &Stage,
    scene: &Scene<'_>,
    first: &Controller,
    second: &mut Option<Controller>,
    plan: Option<Plan>,
) -> Result<(Sight, i32)> {
    let strike = plan.map(|plan| plan.strike);
    let successor = matches!(strike, Some(Strike::Kill(_) | Strike::Parked));
    let succession = async {
        if !successor {
            return std::future::pending::<Result<()>>().await;
        }
        first.tap.struck().await;
        *second = Some(stage.controller().await?);
        std::future::pending().await
    };
    let (sight, attempts) = tokio::select! {
        ended = scene.live() => ended?,
        // It ends with an error alone.
        failed = succession => return Err(failed.err().context("a succession does not end")?),
    };
    if strike != Some(Strike::Parked) || !first.tap.is_struck() {
        return Ok((sight, attempts));
    }
    // The leader that was held up goes on now, with what it believed then.
    let before = first.tap.writes().len();
    first.tap.let_go();
    first.tap.landed(before).await;
    let (sight, later) = scene.settle().await?;
    Ok((sight, attempts.max(later)))
}

fn listing(writes: &[Write]) -> String {
    let lines = writes.iter().enumerate().map(|(number, write)| {
        let answer = write.answer.map_or_else(|| "unheard".to_owned(), |code| code.as_u16().to_string());
        format!("{} {} ({answer})", number + 1, write.seen)
    });
    lines.collect::<Vec<_>>().join(", ")
}
