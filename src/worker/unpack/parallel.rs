//! Work on a few threads whose results come in the order in which it was given.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};

/// More would only wait for the other stages.
const MAX_THREADS: usize = 4;

/// What may be under way at once, in bytes, so that memory stays small whatever a stream holds.
const MAX_WEIGHT: usize = 48 << 20;

/// A few threads that all do the same work, and what they have been given.
pub(super) struct Ordered<J, T> {
    work: fn(J) -> T,
    threads: usize,
    /// Made with the first job: most streams have no second part.
    jobs: Option<Sender<(J, Sender<T>)>>,
    results: VecDeque<(Receiver<T>, usize)>,
    weight: usize,
}

impl<J: Send + 'static, T: Send + 'static> Ordered<J, T> {
    /// Threads for `work`; as many as there are processors, within reason.
    #[must_use]
    pub(super) fn new(work: fn(J) -> T) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        Self { work, threads, jobs: None, results: VecDeque::new(), weight: 0 }
    }

    /// Whether a job that takes `weight` bytes, result included, may be given now.
    #[must_use]
    pub(super) fn has_room(&self, weight: usize) -> bool {
        self.results.is_empty() || (self.results.len() <= self.threads && self.weight + weight <= MAX_WEIGHT)
    }

    /// Gives a job.
    pub(super) fn give(&mut self, job: J, weight: usize) {
        let (done, result) = mpsc::channel();
        let jobs = self.jobs.get_or_insert_with(|| start(self.threads, self.work));
        // A job that nobody takes drops its sender, which `take` notices.
        let _ = jobs.send((job, done));
        self.results.push_back((result, weight));
        self.weight += weight;
    }

    /// The result of the oldest job; `None` when there is none.
    ///
    /// # Errors
    ///
    /// The thread that had the job panicked.
    pub(super) fn take(&mut self) -> io::Result<Option<T>> {
        let Some((result, weight)) = self.results.pop_front() else {
            return Ok(None);
        };
        self.weight -= weight;
        result.recv().map(Some).map_err(|_| io::Error::other("a decoding thread failed"))
    }
}

/// Starts the threads; they end when the sender is dropped.
fn start<J: Send + 'static, T: Send + 'static>(threads: usize, work: fn(J) -> T) -> Sender<(J, Sender<T>)> {
    let (jobs, queue) = mpsc::channel::<(J, Sender<T>)>();
    let queue = Arc::new(Mutex::new(queue));
    let next = |queue: &Mutex<Receiver<_>>| queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
    for _ in 0..threads {
        let queue = Arc::clone(&queue);
        std::thread::spawn(move || {
            while let Ok((job, done)) = next(&queue) {
                // Nobody waits any more when the stream has failed.
                let _ = done.send(work(job));
            }
        });
    }
    jobs
}

#[cfg(test)]
#[path = "parallel_tests.rs"]
mod tests;
