//! Components as detached processes: each in a session of its own, logged to its own file, remembered by id and start
//! time, so that an id that the kernel gave away again is never mistaken for ours.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::instance::Instance;
use crate::launcher::cgroup::Cgroup;
use crate::launcher::network;
use crate::poll;

/// How long a component may take to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// Joins the cgroup and the network namespace before it becomes the component: what a component starts is then ours as
/// well. Arguments: the file to write the process id to, the network namespace, `--`, the component's command line.
const JOIN: &str = r#"echo $$ >"$1"; exec nsenter --net="$2" "${@:3}""#;

/// As [`JOIN`], in a mount namespace of its own; before `--` come pairs of a directory and the one that it hides. What
/// is mounted below the state directory still reaches everybody, because that is a shared mount; what is mounted in the
/// place of the hidden directories reaches nobody, because their mounts are made private first.
const JOIN_WITH_OWN_MOUNTS: &str = r#"
echo $$ >"$1"
net=$2
shift 2
exec nsenter --net="$net" unshare --mount --propagation unchanged bash -euc '
    while [ "$1" != -- ]; do
        mount --make-private "$(findmnt --noheadings --output TARGET --target "$2")"
        mount --bind "$1" "$2"
        shift 2
    done
    shift
    exec "$@"
' "$0" "$@"
"#;

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Component {
    /// Its name: of the log, of the pid file, in messages.
    pub(crate) name: String,
    /// The program's path.
    pub(crate) program: PathBuf,
    /// Its arguments.
    pub(crate) args: Vec<String>,
    /// Variables added to the launcher's own environment.
    pub(crate) env: Vec<(String, String)>,
    /// Directories of its own in the place of the machine's: where they lie, and what they hide.
    pub(crate) private: Vec<(PathBuf, PathBuf)>,
    /// What it reads at its start, when that can change: it is restarted then.
    pub(crate) config: String,
}

impl Component {
    /// A component without arguments.
    #[must_use]
    pub(crate) fn new(name: &str, program: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            program,
            args: Vec::new(),
            env: Vec::new(),
            private: Vec::new(),
            config: String::new(),
        }
    }

    /// Adds arguments.
    #[must_use]
    pub(crate) fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Adds a variable.
    #[must_use]
    pub(crate) fn env(mut self, key: &str, value: impl Into<String>) -> Self {
        self.env.push((key.to_owned(), value.into()));
        self
    }

    /// Gives it directories of its own below `root` in the place of `dirs`.
    #[must_use]
    pub(crate) fn private(mut self, root: &Path, dirs: &[&str]) -> Self {
        self.private = dirs.iter().map(|dir| (root.join(dir.trim_start_matches('/')), PathBuf::from(dir))).collect();
        self
    }

    /// Notes a configuration that the component reads at its start.
    #[must_use]
    pub(crate) fn config(mut self, content: &str) -> Self {
        content.clone_into(&mut self.config);
        self
    }
}

/// What a pid file holds.
#[derive(Serialize, Deserialize)]
struct Record {
    pid: i32,
    /// In clock ticks since the machine's start.
    started: u64,
    /// What runs, so that it can be started again as it was; absent in a file of an older launcher.
    component: Option<Component>,
}

impl Record {
    fn is_of(&self, component: &Component) -> bool {
        self.component.as_ref() == Some(component)
    }
}

/// Starts and ends the components of one cluster.
pub(crate) struct Supervisor {
    instance: Instance,
    pids: PathBuf,
    logs: PathBuf,
    procs: PathBuf,
}

impl Supervisor {
    /// The supervisor of `instance`.
    ///
    /// # Errors
    /// When its directories cannot be made.
    pub(crate) fn new(instance: &Instance, cgroup: &Cgroup) -> Result<Self> {
        let (pids, logs) = (instance.state().join("pids"), instance.logs());
        for dir in [&pids, &logs] {
            fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        Ok(Self { instance: instance.clone(), pids, logs, procs: cgroup.system_procs() })
    }

    /// Makes sure that `component` runs as described: one that runs is left alone, one that runs otherwise is restarted.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn ensure(&self, component: &Component) -> Result<()> {
        match self.record(&component.name) {
            Some(record) if alive(&record) && record.is_of(component) => return Ok(()),
            Some(record) if alive(&record) => self.stop(&component.name)?,
            _ => {}
        }
        self.start(component)
    }

    /// Whether `component` runs as described.
    pub(crate) fn runs(&self, component: &Component) -> bool {
        let record = self.record(&component.name);
        record.is_some_and(|record| alive(&record) && record.is_of(component))
    }

    fn start(&self, component: &Component) -> Result<()> {
        let name = &component.name;
        let path = self.log(name);
        let log = File::options().create(true).append(true).open(&path);
        let log = log.with_context(|| format!("cannot open {}", path.display()))?;
        for (own, hidden) in &component.private {
            for dir in [own, hidden] {
                fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
            }
        }
        let child = Command::new("setsid")
            .args(["bash", "-euc", if component.private.is_empty() { JOIN } else { JOIN_WITH_OWN_MOUNTS }, name])
            .arg(&self.procs)
            .arg(network::netns_file(&self.instance))
            .args(component.private.iter().flat_map(|(own, hidden)| [own, hidden]))
            .arg("--")
            .arg(&component.program)
            .args(&component.args)
            .envs(component.env.iter().map(|(k, v)| (k, v)))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot duplicate the log's handle")?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let pid = i32::try_from(child.id()).context("a process id fits")?;
        let started = started(pid).with_context(|| format!("{name} ended at once; see {}", path.display()))?;
        let record = Record { pid, started, component: Some(component.clone()) };
        let file = self.pid_file(name);
        fs::write(&file, serde_json::to_vec(&record)?).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Ends a component: SIGTERM, and SIGKILL after a while. One that does not run is fine.
    ///
    /// # Errors
    /// When it survives SIGKILL.
    pub(crate) fn stop(&self, name: &str) -> Result<()> {
        self.stop_all(&[name.to_owned()], GRACE)
    }

    /// Ends several components at once: SIGTERM, and SIGKILL after `grace`.
    ///
    /// # Errors
    /// When one survives SIGKILL.
    pub(crate) fn stop_all(&self, names: &[String], grace: Duration) -> Result<()> {
        let running: Vec<Record> = names.iter().filter_map(|name| self.record(name)).filter(alive).collect();
        for record in &running {
            signal(record, Signal::TERM);
            // One that a test had stopped must wake up to see it.
            signal(record, Signal::CONT);
        }
        let gone = || running.iter().all(|record| !alive(record));
        if poll::until_true("components to end", grace, gone).is_err() {
            for record in &running {
                signal(record, Signal::KILL);
            }
            poll::until_true("components to be killed", GRACE, gone)?;
        }
        for name in names {
            let _ = fs::remove_file(self.pid_file(name));
        }
        Ok(())
    }

    /// Kills a component: no signal that it could catch. It counts as started, so that it can be revived.
    ///
    /// # Errors
    /// When it does not run, or survives.
    pub(crate) fn kill(&self, name: &str) -> Result<()> {
        let record = self.record(name).filter(alive).with_context(|| format!("{name} does not run"))?;
        signal(&record, Signal::KILL);
        poll::until_true(&format!("{name} to be killed"), GRACE, || !alive(&record))
    }

    /// Starts a component that has ended again as it was; whether it had.
    ///
    /// # Errors
    /// When it cannot be started, or was never.
    pub(crate) fn revive(&self, name: &str) -> Result<bool> {
        let record = self.record(name).with_context(|| format!("{name} was never started"))?;
        if alive(&record) {
            return Ok(false);
        }
        let component = record.component.with_context(|| format!("an older launcher started {name}"))?;
        self.start(&component).map(|()| true)
    }

    /// Every component that was ever started and not stopped, by name.
    #[must_use]
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.pids).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()))
            .collect();
        names.sort();
        names
    }

    /// The id of a running component.
    #[must_use]
    pub(crate) fn pid(&self, name: &str) -> Option<i32> {
        self.record(name).filter(alive).map(|record| record.pid)
    }

    /// Where a component's id is written, as JSON with a field `pid`.
    #[must_use]
    pub(crate) fn pid_file(&self, name: &str) -> PathBuf {
        self.pids.join(format!("{name}.json"))
    }

    /// Where a component logs.
    #[must_use]
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// Waits until `probe` is true; gives up early, with the end of the log, when the component has ended.
    ///
    /// # Errors
    /// When it is not ready in time, or ended.
    pub(crate) fn ready(&self, name: &str, deadline: Duration, mut probe: impl FnMut() -> bool) -> Result<()> {
        let outcome = poll::until(&format!("{name} to be ready"), deadline, || {
            if probe() {
                return Ok(Some(true));
            }
            Ok(self.pid(name).is_none().then_some(false))
        });
        match outcome {
            Ok(true) => Ok(()),
            Ok(false) => bail!("{name} ended; the end of {}:\n{}", self.log(name).display(), self.log_tail(name)),
            Err(error) => {
                Err(error.context(format!("the end of {}:\n{}", self.log(name).display(), self.log_tail(name))))
            }
        }
    }

    fn log_tail(&self, name: &str) -> String {
        let text = fs::read(self.log(name)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn record(&self, name: &str) -> Option<Record> {
        serde_json::from_slice(&fs::read(self.pid_file(name)).ok()?).ok()
    }
}

fn signal(record: &Record, signal: Signal) {
    if let Some(pid) = Pid::from_raw(record.pid).filter(|_| alive(record)) {
        // It may end between the check and the call; then there is nothing left to do.
        let _ = kill_process(pid, signal);
    }
}

fn alive(record: &Record) -> bool {
    started(record.pid) == Some(record.started)
}

/// When a living process was started, in clock ticks since the machine's start.
fn started(pid: i32) -> Option<u64> {
    parse_started(&fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?)
}

/// The start time in the text of `/proc/PID/stat`; `None` for a process that ended and waits for its parent.
fn parse_started(stat: &str) -> Option<u64> {
    // The second field is the program's name in parentheses, and may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let state = fields.first()?;
    if matches!(*state, "Z" | "X") {
        return None;
    }
    // "starttime" is field 22, and `rest` begins with field 3.
    fields.get(19)?.parse().ok()
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
