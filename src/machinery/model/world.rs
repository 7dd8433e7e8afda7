//! Everybody else: provisioner, PV controller, scheduler, kubelet and users, each as one step that may happen at any
//! moment.

mod adversary;
mod cluster;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::{
    model::api::{Key, Laxity, Store, key},
    names::SELECTED_NODE,
    populator::Made,
};

pub(crate) use adversary::{FORGERIES, Forgery, is_forged};

pub(crate) const PREFIX: &str = "model.example.com";
pub(crate) const CLAIMS: &str = "persistentvolumeclaims";
pub(crate) const VOLUMES: &str = "persistentvolumes";
pub(crate) const PODS: &str = "pods";
pub(crate) const SOURCES: &str = "sources";
pub(crate) const NODES: [&str; 2] = ["node-1", "node-2"];

/// What somebody may do between any two requests of the machinery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    /// The watch of one resource reports one change.
    Report(&'static str),
    Provision,
    PvController,
    Schedule,
    Kubelet,
    FailWorker,
    PvcProtection,
    /// The provisioner cannot serve the selected node of a prime.
    StripNode,
    Cordon(usize),
    Uncordon,
    CreateClaim(usize),
    DeleteClaim(usize),
    BindElsewhere(usize),
    DeletePrime,
    DeleteWorker,
    DeleteVolume,
    ToggleSource,
    ToggleGrant,
    ToggleQuota,
    /// The next volume is too small.
    Shrink,
    /// A stranger mounts a prime and writes to it.
    Intrude,
    /// A tenant makes something that bears every name, label and owner of ours, for the first claim there is.
    Forge(Forgery),
}

/// What a volume holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) is_whole: bool,
    pub(crate) is_verified: bool,
    pub(crate) is_tampered: bool,
}

/// One claim that users may make again and again.
pub(crate) struct Wanted {
    pub(crate) name: &'static str,
    pub(crate) namespace: &'static str,
    class: &'static str,
}

/// Both binding modes, both reclaim policies, with and without a grant.
pub(crate) const WANTED: [Wanted; 3] = [
    Wanted { name: "plain", namespace: "images", class: "immediate-delete" },
    Wanted { name: "waiting", namespace: "images", class: "waiting-delete" },
    Wanted { name: "kept", namespace: "labs", class: "immediate-retain" },
];

#[derive(Default)]
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) laxity: Laxity,
    /// By the name of the volume, which is never used twice.
    pub(crate) disks: BTreeMap<String, Disk>,
    /// How many volumes were ever made for each claim.
    pub(crate) volumes_made: BTreeMap<String, usize>,
    /// The claims that the populator was asked to fill and not yet to forget.
    pub(crate) queued: BTreeSet<String>,
    pub(crate) has_quota: bool,
    /// What the populator has written down, by the claim's UID: it outlives the process.
    pub(crate) records: BTreeMap<String, Made>,
    /// How many workers were ever made for each claim, and how many attempts were counted.
    pub(crate) workers_made: BTreeMap<String, usize>,
    pub(crate) attempts_counted: BTreeMap<String, usize>,
    /// What the populator saw that must not be.
    pub(crate) broken: Vec<String>,
    /// The claims whose primes a user took away, perhaps before anybody knew of their volumes.
    pub(crate) robbed: BTreeSet<String>,
    /// Volumes that a claim was bound to and that its class keeps.
    pub(crate) kept: BTreeSet<String>,
    shrink: bool,
    serial: usize,
}

fn is_going(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

fn text<'a>(value: &'a Value, default: &'a str) -> &'a str {
    value.as_str().unwrap_or(default)
}

fn uid(object: &Value) -> &str {
    text(&object["metadata"]["uid"], "")
}

pub(crate) fn is_claim(object: &Value) -> bool {
    object["spec"]["dataSourceRef"].is_object()
}

impl World {
    pub(crate) fn new(laxity: Laxity) -> Self {
        let mut world = Self { laxity, ..Self::default() };
        for node in NODES {
            world.put("nodes", "", node, json!({"apiVersion": "v1", "kind": "Node"}));
        }
        world.apply(Move::ToggleSource);
        world.apply(Move::ToggleGrant);
        world
    }

    fn put(&mut self, resource: &str, namespace: &str, name: &str, object: Value) {
        // What exists already stays as it is.
        let _ = self.store.create(key(resource, namespace, name), object);
    }

    pub(crate) fn claims(&self) -> Vec<(Key, Value)> {
        self.store.of(CLAIMS).into_iter().filter(|(_, object)| is_claim(object)).collect()
    }

    pub(crate) fn primes(&self) -> Vec<(Key, Value)> {
        self.store.of(CLAIMS).into_iter().filter(|(_, object)| !is_claim(object)).collect()
    }

    pub(crate) fn apply(&mut self, step: Move) {
        match step {
            Move::Report(_) => {}
            Move::Provision => self.provision(),
            Move::PvController => self.bind_and_reclaim(),
            Move::Schedule => self.schedule(),
            Move::Kubelet => self.run_pods(),
            Move::FailWorker => self.edit_first_worker(|pod| pod["status"]["phase"] = json!("Failed")),
            Move::PvcProtection => self.unprotect(),
            Move::StripNode => {
                for (key, prime) in self.primes() {
                    if text(&prime["spec"]["volumeName"], "").is_empty() {
                        self.store.edit(&key, |prime| {
                            if let Some(annotations) = prime["metadata"]["annotations"].as_object_mut() {
                                annotations.remove(SELECTED_NODE);
                            }
                        });
                    }
                }
            }
            Move::Cordon(node) => {
                self.store.edit(&key("nodes", "", NODES[node]), |node| node["spec"]["unschedulable"] = json!(true));
            }
            Move::Uncordon => {
                for node in NODES {
                    self.store.edit(&key("nodes", "", node), |node| node["spec"]["unschedulable"] = json!(false));
                }
            }
            Move::CreateClaim(index) => self.create_claim(&WANTED[index]),
            Move::DeleteClaim(index) => {
                let wanted = &WANTED[index];
                self.store.delete(&key(CLAIMS, wanted.namespace, wanted.name), false);
            }
            Move::BindElsewhere(index) => self.bind_elsewhere(&WANTED[index]),
            Move::DeletePrime => {
                if let Some((key, prime)) = self.primes().first() {
                    self.robbed.insert(text(&prime["metadata"]["labels"][format!("{PREFIX}/claim-uid")], "").into());
                    self.store.delete(key, false);
                }
            }
            Move::DeleteWorker => {
                // Not a stranger: whom nobody sees any more nobody can suspect.
                let ours = |(_, pod): &&(Key, Value)| pod["metadata"]["labels"].is_object() && !is_forged(pod);
                if let Some((key, _)) = self.store.of(PODS).iter().find(ours) {
                    self.store.delete(key, true);
                }
            }
            Move::DeleteVolume => self.lose_volume(),
            Move::ToggleSource => self.toggle(
                &key(SOURCES, "images", "image"),
                json!({"apiVersion": format!("{PREFIX}/v1"), "kind": "Source", "spec": {}}),
            ),
            Move::ToggleGrant => self.toggle(
                &key("referencegrants", "images", "grant"),
                json!({"apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant", "spec": {
                    "from": [{"group": "", "kind": "PersistentVolumeClaim", "namespace": "labs"}],
                    "to": [{"group": PREFIX, "kind": "Source"}],
                }}),
            ),
            Move::ToggleQuota => self.has_quota = !self.has_quota,
            Move::Shrink => self.shrink = true,
            Move::Intrude => self.intrude(),
            Move::Forge(forgery) => self.forge(forgery),
        }
    }

    /// Takes back everything that keeps claims waiting.
    pub(crate) fn heal(&mut self) {
        for resource in [PODS, CLAIMS] {
            for (key, _) in self.store.of(resource).iter().filter(|(_, object)| is_forged(object)) {
                self.store.edit(key, |object| object["metadata"]["finalizers"] = json!([]));
                self.store.remove(key);
            }
        }
        self.has_quota = false;
        self.shrink = false;
        self.apply(Move::Uncordon);
        for (key, toggle) in [
            (key(SOURCES, "images", "image"), Move::ToggleSource),
            (key("referencegrants", "images", "grant"), Move::ToggleGrant),
        ] {
            if !self.store.objects.contains_key(&key) {
                self.apply(toggle);
            }
        }
    }

    fn toggle(&mut self, key: &Key, object: Value) {
        if self.store.objects.contains_key(key) {
            self.store.remove(key);
        } else {
            let _ = self.store.create(key.clone(), object);
        }
    }

    fn create_claim(&mut self, wanted: &Wanted) {
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"annotations": {format!("{PREFIX}/source-namespace"): "images"}},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "dataSourceRef": {"apiGroup": PREFIX, "kind": "Source", "name": "image"},
                "resources": {"requests": {"storage": "1Gi"}},
                "storageClassName": wanted.class,
            },
            "status": {"phase": "Pending"},
        });
        self.put(CLAIMS, wanted.namespace, wanted.name, claim);
    }

    fn edit_first_worker(&mut self, change: impl FnOnce(&mut Value)) {
        let workers = self.store.of(PODS);
        let running = |(_, pod): &&(Key, Value)| pod["status"]["phase"] == "Running";
        if let Some((key, _)) = workers.iter().find(running) {
            self.store.edit(key, change);
        }
    }

    fn volume(&mut self, claim: &Key, claim_object: &Value, capacity: &str) -> String {
        self.serial += 1;
        let name = format!("pv-{}", self.serial);
        let retain = text(&claim_object["spec"]["storageClassName"], "").ends_with("retain");
        let volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume",
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "capacity": {"storage": capacity},
                "claimRef": {"namespace": claim.1, "name": claim.2, "uid": uid(claim_object)},
                "persistentVolumeReclaimPolicy": if retain { "Retain" } else { "Delete" },
            },
            "status": {"phase": "Bound"},
        });
        self.put(VOLUMES, "", &name, volume);
        name
    }

    fn bind_elsewhere(&mut self, wanted: &Wanted) {
        let key = key(CLAIMS, wanted.namespace, wanted.name);
        let Some(claim) = self.store.objects.get(&key).cloned() else { return };
        let reserved = self.store.of(VOLUMES).iter().any(|(_, pv)| pv["spec"]["claimRef"]["uid"] == uid(&claim));
        if claim["spec"]["volumeName"].is_string() || is_going(&claim) || reserved {
            return;
        }
        let name = self.volume(&key, &claim, "1Gi");
        self.store.edit(&key, |claim| {
            claim["spec"]["volumeName"] = json!(name);
            claim["status"] = json!({"phase": "Bound"});
        });
    }

    /// A volume that is being filled vanishes; one that was handed over is its user's loss, not ours.
    fn lose_volume(&mut self) {
        let of_a_prime =
            |(_, volume): &&(Key, Value)| text(&volume["spec"]["claimRef"]["name"], "").starts_with("prime-");
        if let Some((key, _)) = self.store.of(VOLUMES).iter().find(of_a_prime) {
            self.store.remove(key);
        }
    }
}
