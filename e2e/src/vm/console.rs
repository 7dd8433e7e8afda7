//! The guest's serial console, which is its pod's log.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::{AsyncBufReadExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use kube::runtime::wait::{Condition, await_condition};

/// How the guest's line begins.
const MARK: &str = "VMDISK-DEMO ";

/// How many lines of the console an error shows.
const SHOWN: usize = 20;

/// The line by which a guest proves which disk it booted from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The nonce on the disk.
    pub nonce: String,
    /// The size of the disk that the guest sees, in bytes.
    pub disk_size: u64,
    /// The checksum that the guest computed of the payload on its disk, in hexadecimal digits.
    pub payload_sha256: String,
}

impl Greeting {
    /// The greeting in a line of the console, if it is one.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let (_, greeting) = line.split_once(MARK)?;
        let mut words = greeting.split_whitespace();
        Some(Self {
            nonce: words.next()?.to_owned(),
            disk_size: words.next()?.strip_prefix("disk=")?.parse().ok()?,
            payload_sha256: words.next()?.strip_prefix("payload=sha256:")?.to_owned(),
        })
    }
}

/// Waits until `pod` runs, follows its console, hands every line to `show`, and ends at the guest's greeting.
///
/// # Errors
/// When the deadline passes, or the guest switches itself off without a greeting. The message carries the end of the
/// console.
pub async fn greeting(pods: &Api<Pod>, pod: &str, deadline: Duration, mut show: impl FnMut(&str)) -> Result<Greeting> {
    let mut console = Vec::new();
    let outcome = tokio::time::timeout(deadline, async {
        await_condition(pods.clone(), pod, has_started())
            .await
            .with_context(|| format!("cannot watch the pod {pod}"))?;
        let follow = LogParams { follow: true, ..LogParams::default() };
        let log = pods.log_stream(pod, &follow).await;
        let mut lines = log.with_context(|| format!("cannot follow the log of {pod}"))?.lines();
        while let Some(line) = lines.try_next().await.context("the console broke off")? {
            let line = plain(&line);
            if let Some(greeting) = Greeting::parse(&line) {
                show(&line);
                return Ok(greeting);
            }
            show(&line);
            console.push(line);
        }
        bail!("the VM in pod {pod} ended without its greeting")
    })
    .await;
    let error = match outcome {
        Ok(Ok(greeting)) => return Ok(greeting),
        Ok(Err(error)) => error,
        Err(_) => anyhow::anyhow!("pod {pod}: no greeting from its VM within {} s", deadline.as_secs()),
    };
    let shown = console[console.len().saturating_sub(SHOWN)..].join("\n    ");
    Err(error.context(format!("the console's end:\n    {shown}")))
}

/// A pod whose container has been started, and may have ended again.
fn has_started() -> impl Condition<Pod> {
    |pod: Option<&Pod>| {
        let phase = pod.and_then(|pod| pod.status.as_ref()?.phase.as_deref());
        matches!(phase, Some("Running" | "Succeeded" | "Failed"))
    }
}

/// A console's line as text: without the sequences that move a terminal's cursor, and without its carriage return.
fn plain(line: &str) -> String {
    let mut text = String::new();
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            // ESC [ parameters letter; ESC c and the like are one letter long.
            if characters.next() == Some('[') {
                characters.by_ref().find(char::is_ascii_alphabetic);
            }
        } else if !character.is_control() {
            text.push(character);
        }
    }
    text
}

#[cfg(test)]
#[path = "console_tests.rs"]
mod tests;
