//! What a worker pod's status says, without I/O: is it on its way, at work, lost, or how did it end.

mod end;

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod, PodCondition},
    apimachinery::pkg::apis::meta::v1::Time,
};
use vmdisk_wire::{ExitClass, Report};

pub use end::{End, Outcome, judge};

/// How long after its grace a pod that is being deleted may still be there before its node counts as lost: a kubelet
/// that is alive needs a few seconds.
const KUBELET_SLACK: std::time::Duration = std::time::Duration::from_secs(30);

/// `status.reason` of a pod that outlived its `activeDeadlineSeconds`.
const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";

/// The worker's container. Whatever else an admission webhook puts into the pod (a mesh's proxy, an agent that fetches
/// secrets) may come first, run longer or fail: only this one's end is the worker's.
pub const CONTAINER: &str = "worker";

/// What a worker is doing.
#[derive(Clone, Debug, PartialEq)]
pub enum Worker {
    /// Not there.
    Absent,
    /// Its container does not run yet; the text says why, as far as the pod tells.
    Starting {
        /// What the scheduler or the kubelet is waiting for.
        waiting_for: String,
    },
    /// Its container runs.
    Running,
    /// It is being deleted and has not ended yet.
    Stopping,
    /// It should have been gone for a while: nobody on its node answers.
    Lost,
    /// It has ended.
    Ended(Box<Ended>),
}

/// The end of a worker.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// The verdict.
    pub outcome: Outcome,
    /// The worker's last word, where it had one.
    pub report: Option<Report>,
    /// Whether it ran out of `attemptTimeout`.
    pub timed_out: bool,
    /// Whether nothing of the pod runs any more. Other containers may outlive the worker's, and hold the volume.
    pub at_rest: bool,
    /// What the kubelet says of the end, for a worker without a report.
    pub detail: String,
    /// The node that it ran on.
    pub node: Option<String>,
}

impl Worker {
    /// Whether the pod may still use network and volume: what a permit is held for.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        matches!(self, Self::Starting { .. } | Self::Running | Self::Stopping)
    }

    /// Whether the worker's container runs or did, as far as anybody can tell: it may have fetched something.
    #[must_use]
    pub const fn has_started(&self) -> bool {
        !matches!(self, Self::Absent | Self::Starting { .. })
    }

    /// Whether the worker filled its volume.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Ended(ended) if ended.outcome == Outcome::Exited(ExitClass::Done))
    }

    /// Reads a pod.
    #[must_use]
    pub fn observe(pod: Option<&Pod>, now: Timestamp) -> Self {
        let Some(pod) = pod else {
            return Self::Absent;
        };
        if let Some(ended) = ended(pod) {
            return Self::Ended(Box::new(ended));
        }
        if let Some(deletion) = &pod.metadata.deletion_timestamp {
            // The time of deletion already includes the grace.
            let overdue = now.duration_since(deletion.0).unsigned_abs();
            return if now > deletion.0 && overdue > KUBELET_SLACK { Self::Lost } else { Self::Stopping };
        }
        let running =
            container(pod).is_some_and(|status| status.state.as_ref().is_some_and(|state| state.running.is_some()));
        if running { Self::Running } else { Self::Starting { waiting_for: waiting_for(pod) } }
    }
}

/// The node that a worker runs on.
#[must_use]
pub fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

fn container(pod: &Pod) -> Option<&ContainerStatus> {
    let all = pod.status.as_ref()?.container_statuses.as_ref()?;
    all.iter().find(|status| status.name == CONTAINER)
}

fn ended(pod: &Pod) -> Option<Ended> {
    let status = pod.status.as_ref()?;
    let state = container(pod).and_then(|status| status.state.as_ref());
    let terminated = state.and_then(|state| state.terminated.as_ref());
    let over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    // The worker's container is at its end in a pod that never restarts; the pod's phase follows, or never does.
    if !over && terminated.is_none() {
        return None;
    }
    let report = terminated.and_then(|end| end.message.as_deref()).and_then(Report::parse);
    let timed_out = status.reason.as_deref() == Some(DEADLINE_EXCEEDED);
    let disruption = condition(pod, "DisruptionTarget").is_some_and(|condition| condition.status == "True");
    let outcome = judge(&End {
        exit_code: terminated.map(|end| end.exit_code),
        report: report.as_ref(),
        container_reason: terminated.and_then(|end| end.reason.as_deref()),
        pod_reason: status.reason.as_deref(),
        has_run: state.is_some_and(has_run),
        disrupted: disruption,
        deleted: pod.metadata.deletion_timestamp.is_some(),
        timed_out,
    });
    Some(Ended {
        outcome,
        report,
        timed_out,
        at_rest: over || others_ended(pod),
        detail: detail(pod, terminated),
        node: node_of(pod).map(str::to_owned),
    })
}

/// Whether a container ever ran. One that could not be started has an end, too, but not since when.
fn has_run(state: &ContainerState) -> bool {
    let since = |time: &Option<Time>| time.as_ref().is_some_and(|time| time.0 > Timestamp::UNIX_EPOCH);
    state.running.is_some() || state.terminated.as_ref().is_some_and(|end| since(&end.started_at))
}

/// Whether every container of the pod has ended. Those that were injected as restartable init containers end with the
/// others, and count like them.
fn others_ended(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let all = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    all.into_iter().all(|container| container.state.as_ref().is_some_and(|state| state.terminated.is_some()))
}

fn condition<'a>(pod: &'a Pod, name: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == name)
}

fn detail(pod: &Pod, terminated: Option<&ContainerStateTerminated>) -> String {
    let status = pod.status.as_ref();
    let said = [
        status.and_then(|status| status.reason.clone()),
        status.and_then(|status| status.message.clone()),
        terminated.and_then(|end| end.reason.clone()),
        terminated.map(|end| format!("exit code {}", end.exit_code)),
    ];
    said.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The scheduler's or the kubelet's own words for why the container does not run.
fn waiting_for(pod: &Pod) -> String {
    if let Some(waiting) = container(pod).and_then(|status| status.state.as_ref()?.waiting.as_ref()) {
        let reason = waiting.reason.as_deref().unwrap_or("Waiting");
        // Creating is what every pod does first; only what follows it is a cause.
        if reason != "ContainerCreating" {
            return match &waiting.message {
                Some(message) => format!("{reason}: {message}"),
                None => reason.to_owned(),
            };
        }
        return "the node has not started the container; its volumes may not be mounted".to_owned();
    }
    match condition(pod, "PodScheduled").filter(|condition| condition.status != "True") {
        Some(unscheduled) => format!(
            "{}: {}",
            unscheduled.reason.as_deref().unwrap_or("Unscheduled"),
            unscheduled.message.as_deref().unwrap_or("no node was chosen")
        ),
        None => "the pod has not been scheduled".to_owned(),
    }
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
