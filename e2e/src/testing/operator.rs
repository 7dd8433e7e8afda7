//! The controller as it runs on the cluster.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::{Api, Client};

use super::until;
use crate::instance::Instance;
use crate::launcher::container_processes;
use crate::machine::kill_container;

const NAMESPACE: &str = "sync-operator";
const LEASE: &str = "vmdisk-controller";
const SOON: Duration = Duration::from_mins(2);

/// Kills the leader's container, and waits until the kubelet has started it again.
///
/// # Errors
/// When nobody leads, or the container does not come back.
pub async fn kill_leader(client: &Client) -> Result<()> {
    let pods = pods(client);
    let leader = leader(client).await?;
    let before = kill(client, &leader).await?;
    until::holds(&pods, &leader, "its container was started again", SOON, |pod| {
        status(pod).is_ok_and(|now| now.restart_count > before.restart_count && now.ready)
    })
    .await?;
    Ok(())
}

/// Kills the container of one of the controller's pods, and tells what it was.
///
/// # Errors
/// When the container does not run.
pub async fn kill(client: &Client, pod: &str) -> Result<ContainerStatus> {
    let status = status(&pods(client).get(pod).await?)?;
    let id = status.container_id.as_ref().context("the controller's container runs")?;
    kill_container(&Instance::current()?, id)?;
    Ok(status)
}

/// The pods of the controller.
#[must_use]
pub fn pods(client: &Client) -> Api<Pod> {
    Api::namespaced(client.clone(), NAMESPACE)
}

/// Waits until another pod leads than `former`, and gives the lease as it was then.
///
/// # Errors
/// When none does within the deadline.
pub async fn next_lease(client: &Client, former: &str, deadline: Duration) -> Result<LeaseSpec> {
    led(client, "another pod leads", deadline, |holder| holder != former).await
}

/// Waits until both replicas are there and ready.
///
/// # Errors
/// When they are not within a minute.
pub async fn complete(client: &Client) -> Result<()> {
    let deployments = Api::<Deployment>::namespaced(client.clone(), NAMESPACE);
    let ready = |deployment: &Deployment| {
        let wanted = deployment.spec.replicas;
        wanted.is_some() && deployment.status.as_ref().and_then(|status| status.ready_replicas) == wanted
    };
    until::holds(&deployments, "vmdisk-controller", "all replicas are ready", SOON * 2, ready).await.map(drop)
}

/// The pod that leads.
///
/// # Errors
/// When nobody leads within minutes.
pub async fn leader(client: &Client) -> Result<String> {
    lease(client).await?.holder_identity.context("a leader has a name")
}

/// The lease of the pod that leads, as it is now.
///
/// # Errors
/// When nobody leads within minutes.
pub async fn lease(client: &Client) -> Result<LeaseSpec> {
    led(client, "somebody leads", SOON, |_| true).await
}

async fn led(
    client: &Client,
    what: &str,
    deadline: Duration,
    by: impl Fn(&str) -> bool + Send + Sync,
) -> Result<LeaseSpec> {
    let leases = Api::<Lease>::namespaced(client.clone(), NAMESPACE);
    let holds = |lease: &Lease| {
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
        holder.is_some_and(|holder| !holder.is_empty() && by(holder))
    };
    until::holds(&leases, LEASE, what, deadline, holds).await?.spec.context("a lease that is held has a spec")
}

fn status(pod: &Pod) -> Result<ContainerStatus> {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    statuses.and_then(|statuses| statuses.first()).cloned().context("the controller's pod has a container")
}

/// The most memory that the leader's process ever had, in KiB: `VmHWM` of `proc_pid_status(5)`.
///
/// # Errors
/// When nobody leads, or its process cannot be read.
pub async fn leader_peak_memory(client: &Client) -> Result<u64> {
    let leader = leader(client).await?;
    let id = status(&pods(client).get(&leader).await?)?.container_id.context("the leader's container runs")?;
    let process = *container_processes(&Instance::current()?, &id)?.first().context("the leader has a process")?;
    let file = format!("/proc/{}/status", process.as_raw_nonzero());
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
    let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|value| value.trim().trim_end_matches("kB").trim().parse().ok());
    peak.with_context(|| format!("{file} has no VmHWM"))
}
