//! How far the work is: counters that every stage adds to, and who shows them.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use tokio::sync::Notify;
use vmdisk_wire::{Progress, Stage};

use crate::channel::Clocks;

/// At most one line in this time within a stage, as the contract says.
const INTERVAL: Duration = Duration::from_secs(1);

const STAGES: [Stage; 5] =
    [Stage::Connecting, Stage::Inspecting, Stage::Fetching, Stage::Converting, Stage::Finalizing];

/// What is counted, shared by all stages.
#[derive(Debug, Clone, Default)]
pub struct Counters(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    fetched: AtomicU64,
    written: AtomicU64,
    position: AtomicU64,
    total: AtomicU64,
    stage: AtomicU8,
    changed: Notify,
    clocks: Clocks,
}

impl Counters {
    /// Bytes came from the source, repeated ones too: this is what is paid.
    pub fn add_fetched(&self, bytes: u64) {
        self.0.fetched.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes went to the target.
    pub fn add_written(&self, bytes: u64) {
        self.0.written.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes of the source passed the pipeline for the first time.
    pub fn advance(&self, bytes: u64) {
        self.0.position.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Sets how many bytes [`Counters::advance`] will come to, 0 for unknown, and starts from none.
    pub fn begin(&self, stage: Stage, total: Option<u64>) {
        self.0.position.store(0, Ordering::Relaxed);
        self.0.total.store(total.unwrap_or(0), Ordering::Relaxed);
        self.enter(stage);
    }

    /// Moves on to `stage`.
    pub fn enter(&self, stage: Stage) {
        let index = STAGES.iter().position(|known| *known == stage).unwrap_or(0);
        let index = u8::try_from(index).unwrap_or(0);
        if self.0.stage.swap(index, Ordering::Relaxed) != index {
            self.wake();
        }
    }

    /// Something has happened that is worth telling at once.
    pub fn wake(&self) {
        self.0.changed.notify_one();
    }

    /// Bytes that came from the source so far.
    #[must_use]
    pub fn fetched(&self) -> u64 {
        self.0.fetched.load(Ordering::Relaxed)
    }

    /// Bytes that went to the target so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.0.written.load(Ordering::Relaxed)
    }

    /// Where the stages of the pipeline wait.
    #[must_use]
    pub fn clocks(&self) -> &Clocks {
        &self.0.clocks
    }

    /// The present state as the contract words it.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let stage = STAGES[usize::from(self.0.stage.load(Ordering::Relaxed))];
        let total = self.0.total.load(Ordering::Relaxed);
        let position = self.0.position.load(Ordering::Relaxed);
        // 100 is for the disk that is visible; until then there is always something left to do.
        let percent = match stage {
            Stage::Connecting | Stage::Inspecting => None,
            Stage::Finalizing => Some(99),
            Stage::Fetching | Stage::Converting if total == 0 => None,
            Stage::Fetching | Stage::Converting => {
                let percent = u128::from(position) * 100 / u128::from(total);
                Some(u8::try_from(percent.min(99)).unwrap_or(99))
            }
        };
        Progress { stage, bytes_fetched: self.fetched(), bytes_written: self.written(), percent }
    }
}

/// Prints JSON lines, for machines: at each change of stage, and at most one a second otherwise; and does what is due
/// `besides`, at the same times. Never comes back.
pub async fn lines(counters: &Counters, mut besides: impl FnMut()) {
    let mut ticks = tokio::time::interval(INTERVAL);
    let mut last = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = counters.0.changed.notified() => {}
        }
        let now = counters.progress();
        if last != Some(now) {
            print_line(&now);
            last = Some(now);
        }
        besides();
    }
}

/// One JSON document on its own line of stdout.
pub fn print_line(document: &impl serde::Serialize) {
    if let Ok(line) = serde_json::to_string(document) {
        // Whoever closed our stdout does not want to know; the disk is still wanted.
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }
}

/// Shows a bar on stderr, if that is a terminal, for humans; never comes back.
pub async fn bar(counters: &Counters) {
    let bar = ProgressBar::no_length().with_finish(ProgressFinish::AndClear);
    let style = "{prefix:>12} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    loop {
        ticks.tick().await;
        bar.set_prefix(format!("{:?}", counters.progress().stage));
        match counters.0.total.load(Ordering::Relaxed) {
            0 => bar.unset_length(),
            total => bar.set_length(total),
        }
        bar.set_position(counters.0.position.load(Ordering::Relaxed));
    }
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
