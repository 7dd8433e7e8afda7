//! Clusters that came before a table said what they are.

use std::collections::{HashMap, VecDeque};

use crate::zero::is_zero;

/// What an orphan takes besides its data: its entry in the map and in the queue, and the allocator's part.
const OVERHEAD: usize = 96;

/// The window of clusters that have passed without a place on the disk.
#[derive(Debug)]
pub(super) struct Orphans {
    clusters: HashMap<u64, Orphan>,
    /// Clusters that have been used and are kept only in case that something refers to them again, oldest first.
    spent: VecDeque<u64>,
    spent_bytes: usize,
    bytes: usize,
    limit: usize,
    /// The buffer of the last cluster that was dropped.
    spare: Vec<u8>,
}

#[derive(Debug)]
struct Orphan {
    /// `None`: nothing but zeros.
    data: Option<Vec<u8>>,
    spent: bool,
}

impl Orphan {
    fn bytes(&self) -> usize {
        OVERHEAD + self.data.as_ref().map_or(0, Vec::capacity)
    }
}

/// The bytes of an orphan.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content<'a> {
    Data(&'a [u8]),
    Zeros,
}

impl Orphans {
    pub(super) fn new(limit: usize) -> Self {
        Self { clusters: HashMap::new(), spent: VecDeque::new(), spent_bytes: 0, bytes: 0, limit, spare: Vec::new() }
    }

    /// Keeps a cluster. `spent` says that what it is known to hold has a place already; it is dropped first.
    pub(super) fn keep(&mut self, cluster: u64, data: &[u8], spent: bool) {
        let data = (!is_zero(data)).then(|| {
            let mut buffer = std::mem::take(&mut self.spare);
            buffer.clear();
            buffer.extend_from_slice(data);
            buffer
        });
        let orphan = Orphan { data, spent: false };
        self.bytes += orphan.bytes();
        self.clusters.insert(cluster, orphan);
        if spent {
            self.spend(cluster);
        }
        self.drop_spent();
    }

    pub(super) fn get(&self, cluster: u64) -> Option<Content<'_>> {
        self.clusters.get(&cluster).map(|orphan| orphan.data.as_deref().map_or(Content::Zeros, Content::Data))
    }

    /// Says that a cluster has found its place.
    pub(super) fn spend(&mut self, cluster: u64) {
        if let Some(orphan) = self.clusters.get_mut(&cluster).filter(|orphan| !orphan.spent) {
            orphan.spent = true;
            self.spent_bytes += orphan.bytes();
            self.spent.push_back(cluster);
        }
    }

    /// Whether the window holds more than it may.
    pub(super) fn is_over(&self) -> bool {
        self.bytes > self.limit
    }

    /// Drops everything: no table is left that could refer to it.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.limit);
    }

    /// Spent clusters may take a quarter of the window, and nothing where others need the room.
    fn drop_spent(&mut self) {
        while self.spent_bytes > self.limit / 4 || (self.is_over() && self.spent_bytes > 0) {
            let Some(cluster) = self.spent.pop_front() else {
                break;
            };
            if let Some(orphan) = self.clusters.remove(&cluster) {
                self.bytes -= orphan.bytes();
                self.spent_bytes -= orphan.bytes();
                self.spare = orphan.data.unwrap_or_default();
            }
        }
    }
}

#[cfg(test)]
#[path = "orphans_tests.rs"]
mod tests;
