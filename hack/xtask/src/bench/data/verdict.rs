//! What was measured, against what it may cost: floor, ratios, targets. Pure.
//!
//! The floor of a round is the larger of two: the slowest stage, done alone by the fastest independent tool; and the
//! CPU-seconds of all these tools and of the source's servers, divided by the CPUs there are. No pipeline on this
//! machine could be faster than the first without a better tool, nor than the second without more CPUs.

use serde::Serialize;
use vmdisk_e2e::figures::median;

/// At most so many times the floor.
const OVER_FLOOR: f64 = 1.15;
/// At most this part of the time of what a user would write, where a layer is compressed with gzip.
const OVER_NAIVE: f64 = 0.25;
/// Less than so many MiB of memory.
const PEAK_MIB: f64 = 128.0;
/// Each byte once: 1.00 when rounded to hundredths, which leaves room for a manifest.
const FETCHED: f64 = 1.005;

/// One stage, done alone.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stage {
    /// `transfer`, `hash`, `decompress`, `diff_id`, `decode` or `write`.
    pub(super) name: &'static str,
    /// The tool that did it.
    pub(super) tool: &'static str,
    /// Seconds that it took.
    pub(super) wall: f64,
    /// CPU-seconds of the tool.
    pub(super) cpu: f64,
    /// CPU-seconds of the servers meanwhile.
    pub(super) server_cpu: f64,
    /// What flowed: in for `transfer` and `hash`, out for the others; holes of the image count as bytes.
    pub(super) bytes: u64,
}

/// The worker's run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ours {
    pub(super) wall: f64,
    pub(super) cpu: f64,
    pub(super) peak_mib: f64,
    pub(super) written: u64,
    pub(super) fetched: u64,
}

/// Everything, once, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Round {
    pub(super) stages: Vec<Stage>,
    pub(super) ours: Ours,
    /// Seconds of what a user would write.
    pub(super) naive: f64,
}

/// The CPUs that things share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cpus {
    /// Of the machine.
    pub(super) machine: f64,
    /// What worker and tools may use of them; the servers are not bound by that.
    pub(super) limit: f64,
}

/// What a round could cost at the least, and why.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Floor {
    pub(super) seconds: f64,
    pub(super) by: &'static str,
}

impl Floor {
    fn of(stages: &[Stage], cpus: Cpus) -> Self {
        let cpu = stages.iter().map(|stage| stage.cpu).sum::<f64>();
        let servers = stages.iter().map(|stage| stage.server_cpu).sum::<f64>();
        let shared = (cpu / cpus.limit).max((cpu + servers) / cpus.machine);
        let all = Self { seconds: shared, by: "CPU" };
        stages
            .iter()
            .map(|stage| Self { seconds: stage.wall, by: stage.name })
            .fold(all, |most, one| if one.seconds > most.seconds { one } else { most })
    }
}

/// A row of the table, and of the JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Summary {
    pub(super) name: &'static str,
    pub(super) what: String,
    pub(super) wall_s: f64,
    pub(super) floor_s: f64,
    pub(super) naive_s: f64,
    pub(super) wall_over_floor: f64,
    pub(super) wall_over_naive: f64,
    pub(super) cpu_s: f64,
    pub(super) peak_mib: f64,
    pub(super) written_mib: f64,
    pub(super) fetched_over_image: f64,
    /// What makes the floor: a stage, or all of them together (`CPU`).
    pub(super) floor_by: &'static str,
    pub(super) stages: Vec<StageSummary>,
    /// The targets that were missed.
    pub(super) missed: Vec<String>,
}

/// A stage of a row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct StageSummary {
    pub(super) name: &'static str,
    pub(super) tool: &'static str,
    pub(super) wall_s: f64,
    pub(super) cpu_s: f64,
    pub(super) server_cpu_s: f64,
    pub(super) gb_per_s: f64,
}

/// What is known of a row before it is measured.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Subject {
    pub(super) name: &'static str,
    pub(super) what: String,
    /// Bytes that the source has of the image.
    pub(super) image_bytes: u64,
    /// Whether it must be so much faster than what a user would write.
    pub(super) beats_naive: bool,
}

#[expect(clippy::cast_precision_loss, reason = "sizes of images")]
fn float(bytes: u64) -> f64 {
    bytes as f64
}

impl Subject {
    /// The medians of the rounds, and of the ratios within each: what disturbs the machine for a while disturbs both
    /// sides of a ratio. Memory and fetched bytes are the worst of all rounds. `None` without rounds.
    pub(super) fn summary(&self, rounds: &[Round], cpus: Cpus) -> Option<Summary> {
        let middle = |value: &dyn Fn(&Round) -> f64| median(&rounds.iter().map(value).collect::<Vec<_>>());
        let worst = |value: &dyn Fn(&Round) -> f64| rounds.iter().map(value).fold(0.0, f64::max);
        let floor = |round: &Round| Floor::of(&round.stages, cpus);
        let first = rounds.first()?;
        let stages = first.stages.iter().enumerate().map(|(index, stage)| {
            let of = |value: &dyn Fn(&Stage) -> f64| middle(&|round| round.stages.get(index).map_or(0.0, value));
            Some(StageSummary {
                name: stage.name,
                tool: stage.tool,
                wall_s: of(&|stage| stage.wall)?,
                cpu_s: of(&|stage| stage.cpu)?,
                server_cpu_s: of(&|stage| stage.server_cpu)?,
                gb_per_s: of(&|stage| float(stage.bytes) / stage.wall / 1e9)?,
            })
        });
        let floor_s = middle(&|round| floor(round).seconds)?;
        let closest = |one: &&Round, other: &&Round| {
            let away = |round: &Round| (floor(round).seconds - floor_s).abs();
            away(one).total_cmp(&away(other))
        };
        let mut summary = Summary {
            name: self.name,
            what: self.what.clone(),
            wall_s: middle(&|round| round.ours.wall)?,
            floor_s,
            naive_s: middle(&|round| round.naive)?,
            wall_over_floor: middle(&|round| round.ours.wall / floor(round).seconds)?,
            wall_over_naive: middle(&|round| round.ours.wall / round.naive)?,
            cpu_s: middle(&|round| round.ours.cpu)?,
            peak_mib: worst(&|round| round.ours.peak_mib),
            written_mib: middle(&|round| float(round.ours.written) / float(1 << 20))?,
            fetched_over_image: worst(&|round| float(round.ours.fetched) / float(self.image_bytes)),
            floor_by: floor(rounds.iter().min_by(closest)?).by,
            stages: stages.collect::<Option<_>>()?,
            missed: Vec::new(),
        };
        summary.missed = self.missed(&summary);
        Some(summary)
    }

    fn missed(&self, summary: &Summary) -> Vec<String> {
        let mut missed = Vec::new();
        if summary.wall_over_floor > OVER_FLOOR {
            missed.push(format!("{:.2} times the floor instead of {OVER_FLOOR}", summary.wall_over_floor));
        }
        if self.beats_naive && summary.wall_over_naive > OVER_NAIVE {
            let faster = 1.0 / summary.wall_over_naive;
            missed.push(format!("{faster:.1} times faster than the naive pipeline instead of {}", 1.0 / OVER_NAIVE));
        }
        if summary.peak_mib >= PEAK_MIB {
            missed.push(format!("{:.0} MiB of memory instead of less than {PEAK_MIB}", summary.peak_mib));
        }
        if summary.fetched_over_image >= FETCHED {
            missed.push(format!("{:.3} of the image's bytes fetched instead of 1.00", summary.fetched_over_image));
        }
        missed
    }
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
