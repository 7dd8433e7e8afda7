//! No task dies alone: one that ends though it should not, or panics, ends the process with an error that names it.
//!
//! A task that is gone and that nobody misses is the worst of failures: a watch that ended shows the world as it was, and
//! all looks well. A process that ends is started again, and finds from the objects where things stand.
//!
//! ```text
//! Tasks ──keep──▶ task ──returned, panicked──▶ Ends ──▶ runtime: the process ends
//!       ──once──▶ task ───────────panicked──▶   ▲
//!                                               └─ after shutdown: may end
//! ```

use std::{any::Any, panic::AssertUnwindSafe};

use futures::FutureExt;
use tokio::{select, sync::mpsc};
use tokio_util::sync::CancellationToken;

/// Starts tasks. Clones belong together.
#[derive(Clone, Debug)]
pub struct Tasks {
    ended: mpsc::UnboundedSender<Ended>,
    stop: CancellationToken,
}

/// Hears of tasks that ended and should not have.
#[derive(Debug)]
pub struct Ends {
    ended: mpsc::UnboundedReceiver<Ended>,
    shutdown: CancellationToken,
    /// Keeps the channel open where no task was started yet, and stops what was.
    tasks: Tasks,
}

/// A task that ended and should not have.
#[derive(Debug, thiserror::Error)]
#[error("the task {name:?} {how}; the process ends, to start again from what the API server has")]
pub struct Ended {
    /// What the task does.
    pub name: &'static str,
    /// How it ended.
    pub how: How,
}

/// How a task ended.
#[derive(Debug, thiserror::Error)]
pub enum How {
    /// It returned.
    #[error("returned")]
    Returned,
    /// It returned an error.
    #[error("failed: {0:#}")]
    Failed(anyhow::Error),
    /// It panicked.
    #[error("panicked: {0}")]
    Panicked(String),
}

/// What a task may end with.
pub trait Output: Send {
    /// How that is told.
    fn how(self) -> How;
}

impl Output for () {
    fn how(self) -> How {
        How::Returned
    }
}

impl<E: Into<anyhow::Error> + Send> Output for Result<(), E> {
    fn how(self) -> How {
        self.map_or_else(|error| How::Failed(error.into()), Output::how)
    }
}

impl Tasks {
    /// No tasks yet. Once `shutdown` is cancelled, tasks may end as they like.
    #[must_use]
    pub fn new(shutdown: CancellationToken) -> (Self, Ends) {
        let (sender, ended) = mpsc::unbounded_channel();
        let tasks = Self { ended: sender, stop: CancellationToken::new() };
        (tasks.clone(), Ends { ended, shutdown, tasks })
    }

    /// Starts a task that must not end before the process does.
    pub fn keep<O: Output>(&self, name: &'static str, task: impl Future<Output = O> + Send + 'static) {
        self.start(name, task, |output| Some(output.how()));
    }

    /// Starts a task that has an end, and must not panic.
    pub fn once(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.start(name, task, |()| None);
    }

    fn start<T: Send>(
        &self,
        name: &'static str,
        task: impl Future<Output = T> + Send + 'static,
        judge: impl FnOnce(T) -> Option<How> + Send + 'static,
    ) {
        let Self { ended, stop } = self.clone();
        tokio::spawn(async move {
            let output = select! {
                biased;
                () = stop.cancelled() => return,
                output = AssertUnwindSafe(task).catch_unwind() => output,
            };
            // Nothing of the task is looked at any more after a panic: what it shared goes with the process.
            let how = match output {
                Ok(output) => judge(output),
                Err(panic) => Some(How::Panicked(message(panic.as_ref()))),
            };
            if let Some(how) = how {
                // No receiver: the process is going down.
                let _ = ended.send(Ended { name, how });
            }
        });
    }
}

impl Ends {
    /// Waits for a task that ends and should not.
    pub async fn next(&mut self) -> Ended {
        loop {
            // A sender lives in self.
            let Some(ended) = self.ended.recv().await else { return std::future::pending().await };
            // What the tasks live on goes away in any order then.
            let going_down = self.shutdown.is_cancelled() && !matches!(ended.how, How::Panicked(_));
            if !going_down {
                return ended;
            }
        }
    }

    /// Stops every task where it stands, for good.
    pub fn stop(&self) {
        self.tasks.stop.cancel();
    }
}

/// What a panic says, where it says something.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".to_owned())
}

#[cfg(test)]
#[path = "tasks_tests.rs"]
mod tests;
