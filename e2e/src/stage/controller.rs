//! The real controller as a child of this process, behind a tap.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::nursery::{Nursery, Process};
use super::plane::free_ports;
use super::tap::Tap;
use crate::command::cmd;
use crate::instance::Instance;
use crate::testing::until;

/// Names the program to be used, in the place of the one that cargo builds.
const VARIABLE: &str = "VMDISK_CONTROLLER";
/// Against hanging.
const READY: Duration = Duration::from_mins(2);

/// A controller; it is killed when this is dropped.
pub struct Controller {
    process: Process,
    /// What it says to the API server.
    pub tap: Tap,
    health: String,
}

/// Where things of controllers lie.
pub(crate) struct Place<'a> {
    pub(crate) nursery: &'a Nursery,
    pub(crate) program: &'a Path,
    pub(crate) dir: &'a Path,
}

impl Controller {
    pub(crate) fn start(place: &Place<'_>, tap: Tap, name: &str, leader_elect: bool) -> Result<Self> {
        let kubeconfig = place.dir.join(format!("{name}.kubeconfig"));
        tap.kubeconfig(&kubeconfig)?;
        let [metrics, health] = free_ports()?;
        let env = [
            ("KUBECONFIG", kubeconfig.display().to_string()),
            ("VMDISK_WORKER_IMAGE", "stage.invalid/vmdisk-worker:played".to_owned()),
            ("VMDISK_METRICS_ADDRESS", format!("127.0.0.1:{metrics}")),
            ("VMDISK_HEALTH_ADDRESS", format!("127.0.0.1:{health}")),
            ("POD_NAMESPACE", "sync-operator".to_owned()),
            ("POD_NAME", name.to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value));
        let args: &[String] = if leader_elect { &["--leader-elect".to_owned()] } else { &[] };
        let process = place.nursery.start(place.program, args, &env, &place.dir.join(LOG))?;
        tap.attach(process.pid());
        Ok(Self { process, tap, health: format!("http://127.0.0.1:{health}/readyz") })
    }

    /// Waits until its watches are in sync.
    ///
    /// # Errors
    /// When it ends, or is not ready in time.
    pub async fn ready(&mut self) -> Result<()> {
        until::probed("the controller is ready", READY, async || {
            self.process.check()?;
            Ok(self.is_ready().await.then_some(()))
        })
        .await
    }

    /// Whether its watches are in sync.
    async fn is_ready(&self) -> bool {
        reqwest::get(&self.health).await.is_ok_and(|answer| answer.status().is_success())
    }

    /// Fails when it has ended, with the end of its log.
    ///
    /// # Errors
    /// When it has.
    pub fn check(&mut self) -> Result<()> {
        self.process.check()
    }

    /// Tells it to end, as a roll-out would, and waits for that.
    ///
    /// # Errors
    /// When it does not.
    pub async fn stop(mut self) -> Result<()> {
        self.process.terminate();
        until::probed("the controller ends when it is told to", READY, async || {
            Ok(self.process.has_ended().then_some(()))
        })
        .await
    }

    /// The most memory that it ever had, in KiB: `VmHWM` of `proc_pid_status(5)`.
    ///
    /// # Errors
    /// When it has ended.
    pub fn peak_memory(&self) -> Result<u64> {
        let file = format!("/proc/{}/status", self.process.pid().as_raw_nonzero());
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|value| value.trim().trim_end_matches("kB").trim().parse().ok());
        peak.with_context(|| format!("{file} has no VmHWM"))
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }
}

/// The file that all controllers of a stage log to.
pub(crate) const LOG: &str = "controller.log";

/// The program, copied into `dir`: the build that a test has begun with is the one that it ends with.
pub(crate) fn program(dir: &Path) -> Result<PathBuf> {
    let built = match std::env::var_os(VARIABLE) {
        Some(path) => PathBuf::from(path),
        None => build()?,
    };
    let copy = dir.join("vmdisk-controller");
    std::fs::copy(&built, &copy).with_context(|| format!("cannot copy {}", built.display()))?;
    Ok(copy)
}

/// Has cargo build the controller as the tests are built, and say where it is.
fn build() -> Result<PathBuf> {
    #[derive(Deserialize)]
    struct Message {
        executable: Option<PathBuf>,
    }
    let args = ["build", "--quiet", "--package", "vmdisk-controller", "--message-format=json"];
    let output = cmd("cargo").dir(Instance::current()?.checkout()).args(args).output()?;
    let messages = output.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    messages.filter_map(|message| message.executable).next_back().context("cargo built no program of the controller's")
}
