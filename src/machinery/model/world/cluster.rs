//! What the cluster does by itself.

use serde_json::{Value, json};

use super::{CLAIMS, Disk, NODES, PODS, PREFIX, VOLUMES, World, is_claim, is_going, text, uid};
use crate::{
    model::api::{Key, key},
    names::SELECTED_NODE,
};

/// Whether a pod of the claim's namespace names it.
fn names(pod: &Value, claim: &Key) -> bool {
    let volumes = pod["spec"]["volumes"].as_array();
    volumes.into_iter().flatten().any(|volume| volume["persistentVolumeClaim"]["claimName"] == claim.2.as_str())
}

impl World {
    pub(super) fn provision(&mut self) {
        for (key, prime) in self.primes() {
            let waits = text(&prime["spec"]["storageClassName"], "").starts_with("waiting");
            let selected = prime["metadata"]["annotations"][SELECTED_NODE].is_string();
            let reserved = self.store.of(VOLUMES).iter().any(|(_, pv)| pv["spec"]["claimRef"]["uid"] == uid(&prime));
            if is_going(&prime) || prime["spec"]["volumeName"].is_string() || reserved || (waits && !selected) {
                continue;
            }
            let capacity = if std::mem::take(&mut self.shrink) { "1Mi" } else { "1Gi" };
            let name = self.volume(&key, &prime, capacity);
            self.disks.insert(name, Disk::default());
            let claim = text(&prime["metadata"]["labels"][format!("{PREFIX}/claim-uid")], "").to_owned();
            *self.volumes_made.entry(claim).or_default() += 1;
        }
    }

    pub(super) fn bind_and_reclaim(&mut self) {
        for (name, volume) in self.store.of(VOLUMES) {
            let reference = &volume["spec"]["claimRef"];
            let claim = key(CLAIMS, text(&reference["namespace"], ""), text(&reference["name"], ""));
            let found = self.store.objects.get(&claim).filter(|found| reference["uid"] == uid(found)).cloned();
            let deletes = volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete";
            match found {
                // What is being reclaimed is wiped first, and whoever comes then comes too late.
                _ if deletes && volume["status"]["phase"] == "Released" => self.store.remove(&name),
                None if deletes => {
                    self.disks.entry(name.2.clone()).and_modify(|disk| *disk = Disk::default());
                    self.store.edit(&name, |volume| volume["status"]["phase"] = json!("Released"));
                }
                None => self.store.edit(&name, |volume| volume["status"]["phase"] = json!("Released")),
                Some(found) => {
                    let bound_to = text(&found["spec"]["volumeName"], "");
                    // Not while it goes; and a prime's own wish for a size is the claim's, so a small volume binds it.
                    let fits = !is_claim(&found) || volume["spec"]["capacity"]["storage"] == "1Gi";
                    if bound_to.is_empty() && fits && !is_going(&found) {
                        if is_claim(&found) && !deletes {
                            self.kept.insert(name.2.clone());
                        }
                        self.store.edit(&claim, |claim| {
                            claim["spec"]["volumeName"] = json!(name.2);
                            claim["status"] = json!({"phase": "Bound"});
                        });
                    } else if bound_to != name.2 && !bound_to.is_empty() && deletes {
                        self.store.remove(&name);
                    }
                }
            }
        }
        for (key, claim) in self.store.of(CLAIMS) {
            let volume = text(&claim["spec"]["volumeName"], "");
            let volume = self.store.objects.get(&self::key(VOLUMES, "", volume));
            let owned = volume.is_some_and(|volume| volume["spec"]["claimRef"]["uid"] == uid(&claim));
            if claim["status"]["phase"] == "Bound" && !owned {
                self.store.edit(&key, |claim| claim["status"]["phase"] = json!("Lost"));
            }
        }
    }

    pub(super) fn schedule(&mut self) {
        let usable = NODES.into_iter().find(|node| {
            let node = self.store.objects.get(&key("nodes", "", node));
            node.is_some_and(|node| node["spec"]["unschedulable"] != json!(true))
        });
        let Some(node) = usable else { return };
        for (key, claim) in self.claims() {
            let waits = text(&claim["spec"]["storageClassName"], "").starts_with("waiting");
            let chosen = claim["metadata"]["annotations"][SELECTED_NODE].is_string();
            if waits && !chosen && !claim["spec"]["volumeName"].is_string() {
                self.store.edit(&key, |claim| claim["metadata"]["annotations"][SELECTED_NODE] = json!(node));
            }
        }
    }

    /// Pods start once their claim is bound, then end; those that were deleted go.
    pub(super) fn run_pods(&mut self) {
        for (key, pod) in self.store.of(PODS) {
            if is_going(&pod) {
                self.store.remove(&key);
                continue;
            }
            let disk = self.mounted(&key, &pod);
            let is_worker = pod["metadata"]["labels"].is_object();
            let phase = text(&pod["status"]["phase"], "Pending");
            match (phase, disk) {
                ("Pending", Some(disk)) if is_worker => {
                    disk.is_whole = false;
                    disk.is_verified = false;
                    self.store.edit(&key, |pod| pod["status"]["phase"] = json!("Running"));
                }
                ("Running", Some(disk)) if is_worker => {
                    disk.is_whole = true;
                    self.store.edit(&key, |pod| pod["status"]["phase"] = json!("Succeeded"));
                }
                (_, Some(disk)) if !is_worker => disk.is_tampered = true,
                _ => {}
            }
        }
    }

    /// The disk that a pod can reach: its claim is bound to a volume that is bound to it.
    fn mounted(&mut self, pod: &Key, object: &Value) -> Option<&mut Disk> {
        let claims = self.store.of(CLAIMS);
        let (_, claim) = claims.iter().find(|(claim, _)| claim.1 == pod.1 && names(object, claim))?;
        let name = text(&claim["spec"]["volumeName"], "");
        let volume = self.store.objects.get(&key(VOLUMES, "", name))?;
        if volume["spec"]["claimRef"]["uid"] != uid(claim) {
            return None;
        }
        self.disks.get_mut(name)
    }

    pub(super) fn unprotect(&mut self) {
        for (key, claim) in self.store.of(CLAIMS) {
            if !is_going(&claim) {
                continue;
            }
            let pods = self.store.of(PODS);
            let mut users = pods.iter().filter(|(pod, object)| pod.1 == key.1 && names(object, &key));
            // A stranger who looks at a claim that goes gives up.
            if users.all(|(_, pod)| !pod["metadata"]["labels"].is_object()) {
                for (pod, object) in &pods {
                    if pod.1 == key.1 && names(object, &key) {
                        self.store.remove(pod);
                    }
                }
                self.store.edit(&key, |claim| claim["metadata"]["finalizers"] = json!([]));
            }
        }
    }
}
