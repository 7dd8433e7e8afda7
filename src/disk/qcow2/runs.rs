//! Runs whose data is still to come.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::table::Run;

/// The runs ahead of the stream, by place. Several may cover one host cluster: all of them get its data.
#[derive(Debug, Default)]
pub(super) struct Runs {
    ahead: BinaryHeap<Reverse<Run>>,
    /// The runs that cover the cluster at which the stream is.
    here: Vec<Run>,
}

impl Runs {
    pub(super) fn push(&mut self, run: Run) {
        self.ahead.push(Reverse(run));
    }

    /// What they take in memory.
    pub(super) fn bytes(&self) -> usize {
        (self.ahead.capacity() + self.here.capacity()) * size_of::<Run>()
    }

    /// The runs that cover `cluster`, where the stream now is.
    pub(super) fn at(&mut self, cluster: u64) -> &[Run] {
        self.here.retain(|run| run.end() > cluster);
        while let Some(run) = self.ahead.peek().filter(|run| run.0.host <= cluster) {
            self.here.extend(run.0.from(cluster));
            self.ahead.pop();
        }
        // A burst of random tables should not hold its memory to the end.
        if self.ahead.is_empty() && self.ahead.capacity() > 1 << 16 {
            self.ahead.shrink_to_fit();
        }
        &self.here
    }

    /// The first cluster from `cluster` on that another set of runs covers.
    pub(super) fn next_change(&self, cluster: u64) -> u64 {
        let ends = self.here.iter().map(Run::end);
        let starts = self.ahead.peek().map(|run| run.0.host);
        ends.chain(starts).filter(|&change| change > cluster).min().unwrap_or(u64::MAX)
    }

    /// Takes every run, those that have begun without their clusters before `cluster`.
    pub(super) fn take(&mut self, cluster: u64) -> Vec<Run> {
        let mut all: Vec<Run> = self
            .here
            .drain(..)
            .chain(std::mem::take(&mut self.ahead).into_iter().map(|run| run.0))
            .filter_map(|run| run.from(cluster))
            .collect();
        all.sort_unstable();
        all
    }
}
