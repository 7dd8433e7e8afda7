//! Processes that never outlive this one. The kernel ends each of them together with the thread that started it, also when
//! this process is killed; so one thread starts them all, and lives as long as the nursery.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Starts processes.
pub(crate) struct Nursery {
    orders: Option<mpsc::Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

struct Order {
    command: Command,
    answer: mpsc::Sender<std::io::Result<Child>>,
}

impl Nursery {
    /// A nursery without processes.
    ///
    /// # Errors
    /// When its thread cannot be started.
    pub(crate) fn new() -> Result<Self> {
        let (orders, ordered) = mpsc::channel::<Order>();
        let thread = std::thread::Builder::new().name("nursery".to_owned()).spawn(move || {
            for mut order in ordered {
                // Nobody waits for an answer any more when the one who ordered is gone.
                let _ = order.answer.send(order.command.spawn());
            }
        });
        Ok(Self { orders: Some(orders), thread: Some(thread.context("cannot start a thread")?) })
    }

    /// Starts a program that logs to a file.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(
        &self,
        program: &Path,
        args: &[String],
        env: &[(String, String)],
        log: &Path,
    ) -> Result<Process> {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = File::options().create(true).append(true).open(log);
        let file = file.with_context(|| format!("cannot open {}", log.display()))?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(args).envs(env.iter().map(|(k, v)| (k, v)));
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("cannot duplicate the log's handle")?)
            .stderr(file);
        let (answer, answered) = mpsc::channel();
        let orders = self.orders.as_ref().context("the nursery is open")?;
        orders.send(Order { command, answer }).ok().context("the nursery's thread lives")?;
        let child = answered.recv().context("the nursery's thread lives")?;
        let child = child.with_context(|| format!("cannot start {name} by setpriv"))?;
        let pid = Pid::from_child(&child);
        Ok(Process { name, child, pid, log: log.to_owned() })
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        // The thread ends with its last order, and what it started with it.
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A process that ends when this is dropped.
pub(crate) struct Process {
    name: String,
    child: Child,
    pid: Pid,
    log: PathBuf,
}

impl Process {
    /// Its id, which is not given to another process as long as this value lives.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Fails when it has ended, with the end of its log.
    pub(crate) fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait().context("a child can be waited for")? {
            bail!("{} ended ({status}); the end of its log:\n{}", self.name, self.log_tail());
        }
        Ok(())
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Tells it to end by itself.
    pub(crate) fn terminate(&mut self) {
        if !self.has_ended() {
            let _ = kill_process(self.pid, Signal::TERM);
        }
    }

    /// The last lines of its log.
    pub(crate) fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a process that has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
