//! What is told of a scene when its test fails: enough to understand it without running it again.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::{Event, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{ListParams, LogParams};
use kube::{Api, ResourceExt as _};
use populator_crd::{VMDiskImage, VMDiskSync};

use super::Scene;
use super::snapshots::VolumeSnapshot;
use crate::say::say;

/// How much of the controller's log is shown.
const LOG_LINES: i64 = 200;

/// Prints the scene's objects, their events and the controller's last words.
pub async fn tell(scene: &Scene) {
    let mut text = format!("--- what is in {}\n", scene.namespace);
    let all = ListParams::default();
    if let Ok(images) = scene.api::<VMDiskImage>().list(&all).await {
        for image in images {
            let _ = writeln!(text, "image {}: {}", image.name_any(), json(&image.status));
        }
    }
    if let Ok(claims) = scene.api::<PersistentVolumeClaim>().list(&all).await {
        for claim in claims {
            let _ = writeln!(text, "claim {}: {} {}", claim.name_any(), json(&claim.metadata), json(&claim.status));
        }
    }
    if let Ok(snapshots) = scene.api::<VolumeSnapshot>().list(&all).await {
        for snapshot in snapshots {
            let _ = writeln!(text, "snapshot {}: {}", snapshot.name_any(), json(&snapshot.status));
        }
    }
    if let Ok(syncs) = scene.api::<VMDiskSync>().list(&all).await {
        for sync in syncs {
            let _ = writeln!(text, "sync {}: {}", sync.name_any(), json(&sync.status));
        }
    }
    if let Ok(pods) = scene.api::<Pod>().list(&all).await {
        for pod in pods {
            let _ = writeln!(text, "pod {}: {}", pod.name_any(), json(&pod.status));
            if let Ok(log) = scene.api::<Pod>().logs(&pod.name_any(), &LogParams::default()).await {
                let _ = writeln!(text, "{log}");
            }
        }
    }
    if let Ok(volumes) = Api::<PersistentVolume>::all(scene.bed.client.clone()).list(&all).await {
        for volume in volumes {
            let claim = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
            if claim.and_then(|claim| claim.namespace.as_deref()) == Some(&scene.namespace) {
                let _ = writeln!(text, "volume {}: {} {}", volume.name_any(), json(&claim), json(&volume.status));
            }
        }
    }
    if let Ok(events) = scene.api::<Event>().list(&all).await {
        for event in events {
            let about = event.involved_object.name.unwrap_or_default();
            let reason = event.reason.unwrap_or_default();
            let _ = writeln!(text, "event on {about}: {reason}: {}", event.message.unwrap_or_default());
        }
    }
    let pods = Api::<Pod>::namespaced(scene.bed.client.clone(), "sync-operator");
    let tail = LogParams { tail_lines: Some(LOG_LINES), ..LogParams::default() };
    if let Ok(controllers) = pods.list(&all).await {
        for pod in controllers {
            let log = pods.logs(&pod.name_any(), &tail).await.unwrap_or_default();
            let lines = log.lines().filter(|line| line.contains(&scene.namespace));
            let _ = writeln!(text, "controller {}:", pod.name_any());
            lines.for_each(|line| {
                let _ = writeln!(text, "  {line}");
            });
        }
    }
    say(&text);
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| error.to_string())
}
