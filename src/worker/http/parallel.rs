//! How many connections an object is worth.
//!
//! One, as long as one is enough: where the reader is the slower side (a decoder at the limit of its CPU, a bandwidth
//! limit, a fast link), more connections bring nothing but memory traffic. Only a reader that mostly waits for the
//! network earns another connection, and only one that pays by a clearly higher rate keeps it. So a server or a path
//! that is slow for each connection (object stores, CDNs, long round trips) is read by several, and a link that is full
//! anyway goes back to the fewest that fill it.

use std::time::Duration;

/// The most connections. With [`super::body`]'s ranges this bounds what lies in memory.
const MOST: usize = 6;

/// What one connection must bring before it is judged: many round trips' worth, so that slow start does not count.
const SAMPLE: u64 = 8 << 20;

/// And how long it must have been at it, so that neither scheduling nor what was buffered counts.
const SAMPLE_TIME: Duration = Duration::from_millis(50);

/// Bytes a second, of the first sample, that are less than what any decompressor takes in: the network is at fault.
const SLOW: f64 = 50e6;

/// Where it is not that slow, nothing is judged before this. A decompressor takes in whole blocks, as many as it has
/// threads, before it shows its pace; what more connections bring until then only lies in memory.
const WARM_UP: u64 = 24 << 20;

/// Bytes a second that no single connection is kept from by the network, and that no disk takes in faster.
const PLENTY: f64 = 1e9;

/// More connections must be faster by this to be worth it.
const GAIN: f64 = 1.2;

/// Decides how many connections to use, by what the present number brings.
#[derive(Debug, Default)]
pub(super) struct Parallelism {
    connections: usize,
    /// No more is tried: more was no better, or the server asked for less.
    settled: bool,
    /// The best rate so far, in bytes a second, by fewer connections.
    best: f64,
    /// What the samples so far came to, and whether the reader mostly waited in the last one.
    sampled: u64,
    starved: bool,
    bytes: u64,
    elapsed: Duration,
    waited: Duration,
}

impl Parallelism {
    /// One connection, nothing known.
    pub(super) fn new() -> Self {
        Self { connections: 1, ..Self::default() }
    }

    /// How many connections to use now.
    pub(super) fn connections(&self) -> usize {
        self.connections
    }

    /// So many bytes came in, in so long a time, of which the reader waited so long for the network.
    pub(super) fn observe(&mut self, bytes: u64, elapsed: Duration, waited: Duration) {
        if self.settled {
            return;
        }
        self.bytes += bytes;
        self.elapsed += elapsed;
        self.waited += waited;
        if self.bytes < SAMPLE * self.connections as u64 || self.elapsed < SAMPLE_TIME {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate to compare with another")]
        let rate = self.bytes as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON);
        let starved = self.waited * 2 > self.elapsed && rate < PLENTY;
        let slow = self.sampled == 0 && rate < SLOW;
        // One sample may have been a hiccup of the machine.
        let warm = self.sampled >= WARM_UP && self.starved;
        self.sampled += self.bytes;
        self.starved = starved;
        (self.bytes, self.elapsed, self.waited) = (0, Duration::ZERO, Duration::ZERO);
        if !starved || (self.connections == 1 && !slow && !warm) {
            return;
        }
        if rate > self.best * GAIN {
            self.best = rate;
            self.settled = self.connections == MOST;
            self.connections = (self.connections * 2).min(MOST);
        } else {
            self.connections = self.connections.div_ceil(2);
            self.settled = true;
        }
    }

    /// The server asked to slow down.
    pub(super) fn retreat(&mut self) {
        self.connections = 1;
        self.settled = true;
    }
}

#[cfg(test)]
#[path = "parallel_tests.rs"]
mod tests;
