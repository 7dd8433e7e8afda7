//! Reads a claim as the VM would find it, from a pod that shares no code with the worker.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, LogParams};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::objects::{Mode, is_bound};
use super::{Scene, bed, until};
use crate::cache::hex;

/// A disk, as it must be found in a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of exactly these bytes.
    pub sha256: String,
}

impl Expected {
    /// What must be found of this disk.
    #[must_use]
    pub fn of(disk: &[u8]) -> Self {
        Self { bytes: disk.len() as u64, sha256: hex(&Sha256::digest(disk)) }
    }
}

/// What a claim holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The length of `disk.img`, or of the device.
    pub bytes: u64,
    /// SHA-256 of the first `disk_bytes`.
    pub sha256: String,
    /// How many bytes behind `disk_bytes` are not zero.
    pub dirt: u64,
    /// Owner, group and mode of `disk.img`; empty on a device.
    pub owner: String,
    /// What the file system offers its users, with what the disk takes of it; zero on a device.
    pub room: u64,
    /// What lies at the root of the file system, but for `lost+found`; empty on a device.
    pub files: Vec<String>,
}

/// Coreutils alone: what they say of the bytes is independent of us.
const SCRIPT: &str = r#"
set -eu
if [ -b "$DISK" ]; then
  # Seeking to the end is the one way to learn a device's length without an ioctl.
  bytes=$(dd if="$DISK" of=/dev/null bs=4M 2>&1 | sed -n 's/^\([0-9]*\) bytes.*/\1/p')
else
  bytes=$(stat -c %s "$DISK")
  echo "owner $(stat -c %u:%g:%a "$DISK")"
  echo "room $(($(stat -f -c '%a * %S' "$DISK") + $(stat -c '%b * %B' "$DISK")))"
  for file in $(ls -A "$(dirname "$DISK")"); do [ "$file" = lost+found ] || echo "file $file"; done
fi
echo "bytes $bytes"
echo "sha256 $(head -c "$DISK_BYTES" "$DISK" | sha256sum | cut -d' ' -f1)"
echo "dirt $(tail -c +"$((DISK_BYTES + 1))" "$DISK" | tr -d '\0' | wc -c)"
"#;

/// Waits until a claim is bound and reads it, in a pod of the test's namespace: it holds the disk, and nothing but zeros
/// behind it. The deadline is that of each step.
///
/// # Errors
/// When it is not bound, holds anything else, or cannot be read.
pub async fn holds(scene: &Scene, claim: &str, mode: Mode, disk: &Expected, deadline: Duration) -> Result<Contents> {
    until::holds(&scene.api::<PersistentVolumeClaim>(), claim, "is bound", deadline, is_bound).await?;
    let contents = read(scene, claim, mode, disk.bytes, deadline).await?;
    ensure!(contents.sha256 == disk.sha256, "claim {claim} holds other bytes than {disk:?}: {contents:?}");
    ensure!(contents.dirt == 0, "claim {claim} has bytes behind the disk: {contents:?}");
    Ok(contents)
}

async fn read(scene: &Scene, claim: &str, mode: Mode, disk_bytes: u64, deadline: Duration) -> Result<Contents> {
    let pod = scene.create(&reader_pod(claim, mode, disk_bytes)?).await?;
    let name = pod.metadata.name.context("the API server names what it creates")?;
    let api = scene.api::<Pod>();
    let ended = until::holds(&api, &name, "ends", deadline, |pod| {
        pod.status
            .as_ref()
            .and_then(|status| status.phase.as_deref())
            .is_some_and(|p| p == "Succeeded" || p == "Failed")
    })
    .await?;
    let log = api.logs(&name, &LogParams::default()).await.context("cannot read the reader's log")?;
    let phase = ended.status.and_then(|status| status.phase);
    ensure!(phase.as_deref() == Some("Succeeded"), "the reader of {claim} failed: {log}");
    api.delete(&name, &DeleteParams::default().grace_period(0)).await?;
    until::gone(&api, &name, deadline).await?;
    parse(&log).with_context(|| format!("the reader of {claim} said {log:?}"))
}

fn parse(log: &str) -> Result<Contents> {
    let mut files = Vec::new();
    let mut facts = BTreeMap::new();
    for line in log.lines() {
        match line.split_once(' ') {
            Some(("file", name)) => files.push(name.to_owned()),
            Some((fact, value)) => {
                facts.insert(fact, value.to_owned());
            }
            None => {}
        }
    }
    let number = |fact: &str| -> Result<u64> {
        facts.get(fact).with_context(|| format!("no {fact}"))?.parse().with_context(|| format!("{fact} is no number"))
    };
    Ok(Contents {
        bytes: number("bytes")?,
        sha256: facts.get("sha256").context("no sha256")?.clone(),
        dirt: number("dirt")?,
        room: if facts.contains_key("room") { number("room")? } else { 0 },
        owner: facts.get("owner").cloned().unwrap_or_default(),
        files,
    })
}

fn reader_pod(claim: &str, mode: Mode, disk_bytes: u64) -> Result<Pod> {
    let mut container = json!({
        "name": "reader",
        "image": bed::variable("BASE_IMAGE")?,
        "command": ["/bin/bash", "-c", SCRIPT],
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
    });
    let disk = match mode {
        Mode::Filesystem => {
            container["volumeMounts"] = json!([{"name": "disk", "mountPath": "/volume", "readOnly": true}]);
            "/volume/disk.img"
        }
        Mode::Block => {
            container["volumeDevices"] = json!([{"name": "disk", "devicePath": "/dev/disk"}]);
            "/dev/disk"
        }
    };
    container["env"] =
        json!([{"name": "DISK", "value": disk}, {"name": "DISK_BYTES", "value": disk_bytes.to_string()}]);
    Ok(serde_json::from_value(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "reader-"},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 0,
            // QEMU's ids, as virt-launcher has them.
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 107, "runAsGroup": 107, "fsGroup": 107,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [{"name": "disk", "persistentVolumeClaim": {"claimName": claim}}],
        },
    }))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_script_prints_is_understood() {
        let log = "owner 107:107:660\nroom 2097152\nfile disk.img\nbytes 1048576\nsha256 00ff\ndirt 0\n";
        let contents = parse(log).unwrap();
        assert_eq!(contents.bytes, 1_048_576);
        assert_eq!(contents.room, 2_097_152);
        assert_eq!(contents.files, ["disk.img"]);
        assert_eq!(contents.owner, "107:107:660");
        assert!(parse("bytes many\n").is_err());
    }
}
