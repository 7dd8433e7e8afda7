//! Why a worker came to its end: its own word where there is one, an inference where not.
//!
//! Two things hang on it: whether the attempt counts, and against which limit. So the rule is: final is only what a report
//! says; what the cluster's own life explains is an interruption; whatever else happens is a failure that counts, because
//! it would happen again.
//!
//! The sources of what a pod's status can say (Kubernetes 1.36): `pkg/kubelet/kubelet.go` (`rejectPod`),
//! `pkg/kubelet/eviction/eviction_manager.go` (an eviction under pressure carries a `DisruptionTarget` condition, one by
//! the pod's own limits none), `pkg/kubelet/nodeshutdown`, `pkg/kubelet/preemption`, `pkg/kubelet/kuberuntime`
//! (`ContainerStatusUnknown`), `pkg/controller/tainteviction`, `pkg/controller/podgc`, the scheduler's preemption; and
//! containerd's CRI plugin (exit code 255 and reason `Unknown` for a task that it lost sight of, `StartError` with 128).

use vmdisk_wire::{ExitClass, INTERRUPTED, Report};

/// What a pod's status says of the end of its worker.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and they come in every combination")]
#[derive(Clone, Copy, Debug, Default)]
pub struct End<'a> {
    /// The exit code of the worker's container, if that has ended.
    pub exit_code: Option<i32>,
    /// Its last word.
    pub report: Option<&'a Report>,
    /// The reason of its end: `OOMKilled`, `Error`, `StartError`, …
    pub container_reason: Option<&'a str>,
    /// The reason of the pod's end: `Evicted`, `OutOfcpu`, `NodeAffinity`, …
    pub pod_reason: Option<&'a str>,
    /// Whether its container ever ran.
    pub has_run: bool,
    /// Whether it is marked as the target of a disruption (`DisruptionTarget`).
    pub disrupted: bool,
    /// Whether it is being deleted.
    pub deleted: bool,
    /// Whether it ran out of time.
    pub timed_out: bool,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The worker ended by itself, and said so.
    Exited(ExitClass),
    /// The cluster's own life cut it short: eviction, drain, preemption, reboot, a runtime that lost it.
    Interrupted,
    /// It never ran: a node that did not take it, a container that could not be started.
    NotStarted,
    /// It was killed for what it did: out of memory, beyond a limit of its own, by a signal.
    Killed,
    /// Nothing explains it.
    Unexplained,
}

/// 128 and the number of the signal: how a shell-convention exit code shows one.
const SIGNALLED: std::ops::RangeInclusive<i32> = 129..=159;

/// Judges an end. The worker is believed where code and report agree, because a wrong success is worse than a failure,
/// and a wrong final failure nearly so.
#[must_use]
pub fn judge(end: &End<'_>) -> Outcome {
    let cut_short = end.disrupted || end.deleted;
    // An eviction under pressure is marked as a disruption; one that is not was the pod's own doing.
    let own_limit = end.pod_reason == Some("Evicted") && !end.disrupted;
    let said = end.report.filter(|report| end.exit_code == Some(report.class.code().into()));
    match said {
        // Told to stop: whoever did it, the attempt was cut short and did not fail.
        Some(report) if report.class == ExitClass::Transient => match report.reason == INTERRUPTED || cut_short {
            _ if end.timed_out => Outcome::Exited(ExitClass::Transient),
            true if own_limit => Outcome::Killed,
            true => Outcome::Interrupted,
            false => Outcome::Exited(ExitClass::Transient),
        },
        Some(report) => Outcome::Exited(report.class),
        None if !end.has_run => Outcome::NotStarted,
        None if end.timed_out => Outcome::Exited(ExitClass::Transient),
        None if own_limit || end.container_reason == Some("OOMKilled") => Outcome::Killed,
        None if cut_short || end.pod_reason.is_some() || is_lost(end) => Outcome::Interrupted,
        None if end.exit_code.is_some_and(|code| SIGNALLED.contains(&code)) => Outcome::Killed,
        None => Outcome::Unexplained,
    }
}

/// Whether kubelet or runtime lost sight of the container: they were restarted, or the node was.
fn is_lost(end: &End<'_>) -> bool {
    end.exit_code.is_none()
        || end.exit_code == Some(255)
        || matches!(end.container_reason, Some("Unknown" | "ContainerStatusUnknown"))
}

#[cfg(test)]
#[path = "end_tests.rs"]
mod tests;
