//! The threads that inflate and write windows.

use std::io;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use vmdisk_format::{Error, Inflater};

use super::medium::Medium;
use super::window::{Flushed, Window};
use crate::progress::Counters;

/// One thread inflates while the other's write is on its way; more than four only contend for the device.
const THREADS: std::ops::RangeInclusive<usize> = 2..=4;

/// Windows beside those that the threads work on: one is being filled and one waits, so that neither side starves.
const SPARE: usize = 2;

/// Threads that flush windows to one medium, and the windows: never more than the pool was made for, so that waiting
/// for one bounds memory.
pub(super) struct Pool {
    /// Absent once the threads are told to end.
    jobs: Option<SyncSender<Window>>,
    done: Receiver<Done>,
    threads: Vec<JoinHandle<()>>,
    idle: Vec<Window>,
    /// How many windows may still be made.
    unmade: usize,
    in_flight: usize,
    counters: Counters,
}

/// A window that a thread has done with.
struct Done {
    window: Window,
    outcome: Result<Flushed, Error>,
}

impl Pool {
    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// The system's, when there are no more threads to be had.
    pub(super) fn new(medium: &Arc<Medium>, counters: Counters) -> io::Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, usize::from).clamp(*THREADS.start(), *THREADS.end());
        let (jobs, queue) = sync_channel(SPARE);
        let (sender, done) = channel();
        let queue = Arc::new(Mutex::new(queue));
        let threads = (0..count)
            .map(|_| {
                let (queue, sender) = (Arc::clone(&queue), sender.clone());
                let (medium, counters) = (Arc::clone(medium), counters.clone());
                let work = move || work(&queue, &sender, &medium, &counters, count);
                std::thread::Builder::new().name("write".into()).spawn(work)
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { jobs: Some(jobs), done, threads, idle: Vec::new(), unmade: count + SPARE, in_flight: 0, counters })
    }

    /// An empty window, and what those that came back meanwhile have come to. Waits for one if need be.
    ///
    /// # Errors
    ///
    /// What a thread failed with.
    pub(super) fn window(&mut self) -> Result<(Window, Vec<Flushed>), Error> {
        let mut flushed = Vec::new();
        while let Ok(done) = self.done.try_recv() {
            flushed.push(self.settle(done)?);
        }
        if self.idle.is_empty() && self.unmade == 0 {
            flushed.push(self.wait()?);
        }
        let window = self.idle.pop().unwrap_or_else(|| {
            self.unmade -= 1;
            Window::new()
        });
        Ok((window, flushed))
    }

    /// Has `window` flushed.
    pub(super) fn flush(&mut self, window: Window) {
        // A thread ends only when the sender is gone, or by a panic, which the next wait reports.
        if self.jobs.as_ref().is_some_and(|jobs| jobs.send(window).is_ok()) {
            self.in_flight += 1;
        }
    }

    /// Waits until every window is flushed, and tells what that came to.
    ///
    /// # Errors
    ///
    /// What a thread failed with.
    pub(super) fn drain(&mut self) -> Result<Vec<Flushed>, Error> {
        let mut flushed = Vec::new();
        while self.in_flight > 0 {
            flushed.push(self.wait()?);
        }
        Ok(flushed)
    }

    fn wait(&mut self) -> Result<Flushed, Error> {
        let done = {
            let _waiting = self.counters.clocks().decode.output();
            self.done.recv()
        };
        let done = done.map_err(|_| failed(0, io::Error::other("the threads that write the disk have ended")))?;
        self.settle(done)
    }

    fn settle(&mut self, done: Done) -> Result<Flushed, Error> {
        self.in_flight -= 1;
        self.idle.push(done.window);
        done.outcome
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so on stderr, and its window never came back.
            let _ = thread.join();
        }
    }
}

/// What one thread does: windows, until there are no more.
fn work(queue: &Mutex<Receiver<Window>>, sender: &Sender<Done>, medium: &Medium, counters: &Counters, threads: usize) {
    let mut inflater = Inflater::new();
    loop {
        let next = {
            let _waiting = counters.clocks().write.input_of_one_in(threads);
            queue.lock().unwrap_or_else(PoisonError::into_inner).recv()
        };
        let Ok(mut window) = next else { return };
        let outcome = window.flush(medium, &mut inflater);
        if let Ok(flushed) = &outcome {
            counters.add_written(flushed.bytes);
        }
        if sender.send(Done { window, outcome }).is_err() {
            return;
        }
    }
}

/// An error of the medium at `offset`.
pub(super) fn failed(offset: u64, source: io::Error) -> Error {
    Error::Write { offset, length: 0, source }
}
