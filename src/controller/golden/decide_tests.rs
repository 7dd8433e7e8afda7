use k8s_openapi::api::core::v1::{CSIPersistentVolumeSource, PersistentVolumeSpec};
use kube::Resource;
use populator_crd::v1alpha1::{Purpose, VMDiskImageSpec, VMDiskSyncSpec, VMDiskSyncStatus};

use super::*;
use crate::golden::snapshot::{SnapshotError, SnapshotStatus};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn facts(digest: &str) -> SourceFacts {
    SourceFacts { digest: Some(digest.into()), ..SourceFacts::default() }
}

/// One image whose golden data is played: what a step writes is there with the next look.
struct Play {
    seen: Seen,
    uids: u32,
}

impl Play {
    fn new(cut: Cut) -> Self {
        let mut image = VMDiskImage::new(
            "attacker",
            VMDiskImageSpec {
                url: Some("https://host/a.qcow2".into()),
                storage_class: Some("gp3".into()),
                disk_size: Some(Quantity("24Gi".into())),
                name: Some("vm".into()),
                ..VMDiskImageSpec::default()
            },
        );
        let meta = &mut image.metadata;
        (meta.namespace, meta.uid, meta.generation) = (Some("lab".into()), Some("i1".into()), Some(1));
        let seen = Seen {
            image: Arc::new(image),
            plan: Plan::Cut(cut),
            resolution: Resolution::Ask,
            has_inspector: false,
            records: Vec::new(),
            master: None,
            master_sync: None,
            volume: None,
            strangers: Vec::new(),
            snapshot: None,
            claim: None,
            claim_sync: None,
            golden_snapshot: None,
            now: at(1000),
        };
        Self { seen, uids: 0 }
    }

    fn snapshots() -> Self {
        Self::new(Cut::Snapshot("ebs-snapshot".into()))
    }

    fn uid(&mut self) -> String {
        self.uids += 1;
        format!("u{}", self.uids)
    }

    /// The source answers.
    fn answer(&mut self, digest: &str) {
        let facts = facts(digest);
        self.seen.resolution = Resolution::Found { key: key::of(&self.seen.image, &facts), facts: Box::new(facts) };
        self.look();
    }

    /// What follows from what is there.
    fn look(&mut self) {
        if let Some((_, golden)) = current(&self.seen.records, &self.seen.image) {
            self.seen.resolution = Resolution::Recorded(golden.key.clone());
        }
        let uid = self.seen.master.as_ref().and_then(|master| master.metadata.uid.clone());
        let of_master = |record: &&Arc<VMDiskSync>| Some(&record.spec.claim.uid) == uid.as_ref();
        self.seen.master_sync = self.seen.records.iter().find(of_master).cloned();
    }

    /// Decides, does what was decided, and says it.
    fn step(&mut self) -> String {
        let (step, _) = next(&self.seen);
        let word = match step.clone() {
            Step::Rest(_) => "rest".to_owned(),
            Step::Ask => {
                (self.seen.has_inspector, self.seen.resolution) = (true, Resolution::Asking);
                "ask".to_owned()
            }
            Step::RemoveInspector => {
                self.seen.has_inspector = false;
                "remove the inspector".to_owned()
            }
            Step::CreateMaster(key) => {
                let mut master = objects::master(&self.seen.image, &key);
                master.metadata.uid = Some(self.uid());
                self.seen.master = Some(master);
                "create the master".to_owned()
            }
            Step::Record(record, golden) => {
                let word = format!("record {:?}", golden.phase);
                self.record(&record, *golden);
                word
            }
            Step::TakeSnapshot(record) => {
                let mut snapshot = objects::cut(&self.seen.image, "ebs-snapshot", &golden(&record).key, &record);
                let uid = self.uid();
                snapshot.metadata.uid = Some(uid.clone());
                let taken = Origin { name: snapshot.name_any(), uid };
                self.seen.snapshot = Some(snapshot);
                let golden = GoldenRecord { snapshot: Some(taken), ..golden(&record).clone() };
                self.record(&record, golden);
                "take the snapshot".to_owned()
            }
            Step::RemoveSnapshot(origin) => {
                if self.seen.snapshot.as_ref().is_some_and(|it| it.metadata.uid.as_ref() == Some(&origin.uid)) {
                    self.seen.snapshot = None;
                } else {
                    self.seen.golden_snapshot = None;
                }
                format!("remove snapshot {}", origin.name.split('-').next().unwrap_or_default())
            }
            Step::RemoveMaster(_) => {
                self.seen.master = None;
                "remove the master".to_owned()
            }
            Step::Prune(record) => {
                (self.seen.master, self.seen.snapshot) = (None, None);
                let golden = golden(&record).clone();
                self.record(&record, GoldenRecord { phase: GoldenPhase::Pruned, snapshot: None, ..golden });
                "prune".to_owned()
            }
            Step::CreateClaim => {
                self.seen.claim = Some(objects::golden_claim(&self.seen.image));
                "create the golden claim".to_owned()
            }
            Step::TakeGoldenSnapshot(key) => {
                let snapshot = objects::golden_snapshot(&self.seen.image, "ebs-snapshot", &key);
                self.seen.golden_snapshot = Some(snapshot);
                "take the golden snapshot".to_owned()
            }
        };
        self.look();
        word
    }

    /// As many steps as there are until it rests.
    fn steps(&mut self) -> Vec<String> {
        let mut steps = Vec::new();
        for _ in 0..20 {
            let step = self.step();
            if step == "rest" {
                return steps;
            }
            steps.push(step);
        }
        panic!("it does not come to rest: {steps:?}");
    }

    fn told(&self) -> Told {
        next(&self.seen).1
    }

    fn record(&mut self, record: &VMDiskSync, golden: GoldenRecord) {
        let mut next = record.clone();
        next.status.get_or_insert_default().golden = Some(Box::new(golden));
        let place = self.seen.records.iter_mut().find(|known| known.metadata.uid == record.metadata.uid).unwrap();
        *place = Arc::new(next);
    }

    /// The machinery has the master's sync in this phase.
    fn machinery(&mut self, phase: SyncPhase, digest: Option<&str>) {
        let uid = self.seen.master.as_ref().unwrap().metadata.uid.clone().unwrap();
        let known = self.seen.records.iter().find(|record| record.spec.claim.uid == uid).cloned();
        let mut sync = known.map_or_else(|| VMDiskSync::new("sync", VMDiskSyncSpec::default()), |it| (*it).clone());
        sync.spec.purpose = Purpose::Master;
        sync.spec.claim.name = self.seen.master.as_ref().unwrap().name_any();
        sync.spec.claim.uid.clone_from(&uid);
        sync.metadata.uid = Some(format!("sync-{uid}"));
        let golden = sync.status.as_ref().and_then(|status| status.golden.clone());
        sync.status = Some(VMDiskSyncStatus {
            phase: Some(phase),
            golden,
            source: digest.map(facts),
            ..VMDiskSyncStatus::default()
        });
        self.seen.records.retain(|record| record.spec.claim.uid != uid);
        self.seen.records.push(Arc::new(sync));
        if phase == SyncPhase::Succeeded {
            let csi = CSIPersistentVolumeSource {
                driver: "ebs".into(),
                volume_handle: "vol-1".into(),
                fs_type: Some("ext4".into()),
                ..CSIPersistentVolumeSource::default()
            };
            let spec = PersistentVolumeSpec { csi: Some(csi), ..PersistentVolumeSpec::default() };
            self.seen.volume = Some(PersistentVolume { spec: Some(spec), ..PersistentVolume::default() });
            let master = self.seen.master.as_mut().unwrap();
            master.spec.as_mut().unwrap().volume_name = Some("pv".into());
        }
        self.look();
    }

    fn snapshot_is_ready(&mut self) {
        let status = SnapshotStatus {
            bound_volume_snapshot_content_name: Some("content".into()),
            creation_time: Some(Time(at(2000))),
            ready_to_use: Some(true),
            restore_size: Some("25Gi".into()),
            error: None,
        };
        self.seen.snapshot.as_mut().unwrap().status = Some(status);
    }

    /// The life of a preload until there is something to cut from.
    fn filled(cut: Cut) -> Self {
        let mut play = Self::new(cut);
        play.answer("d1");
        play.steps();
        play.machinery(SyncPhase::Succeeded, Some("d1"));
        play
    }

    fn is_ready() -> Self {
        let mut play = Self::filled(Cut::Snapshot("ebs-snapshot".into()));
        play.steps();
        play.snapshot_is_ready();
        play.step();
        play
    }
}

fn golden(record: &VMDiskSync) -> &GoldenRecord {
    record.status.as_ref().unwrap().golden.as_deref().unwrap()
}

#[test]
fn an_image_is_fetched_into_a_master_that_is_cut() {
    let mut play = Play::snapshots();
    assert_eq!(play.step(), "ask");
    assert_eq!(play.steps(), [""; 0]);
    assert_eq!(play.told().reason, ImageReason::Resolving);
    play.answer("d1");
    assert_eq!(play.steps(), ["create the master"]);
    play.machinery(SyncPhase::Queued, None);
    assert_eq!(play.steps(), ["record Filling", "remove the inspector"]);
    play.machinery(SyncPhase::Syncing, None);
    assert_eq!(play.steps(), [""; 0]);
    assert_eq!(play.told().reason, ImageReason::Syncing);
    play.machinery(SyncPhase::Succeeded, Some("d1"));
    assert_eq!(play.steps(), ["record Cutting", "take the snapshot"]);
    assert_eq!(play.told().reason, ImageReason::Cutting);
    play.snapshot_is_ready();
    assert_eq!(play.steps(), ["record Ready", "create the golden claim", "take the golden snapshot"]);
    assert_eq!(play.told().reason, ImageReason::Queued, "the golden claim is a claim like any other");
    let data = play.told().golden.unwrap();
    assert_eq!((data.digest.as_deref(), data.volume_handle.as_deref()), (Some("d1"), Some("vol-1")));
    assert_eq!(golden(&play.seen.records[0]).restore_size, Some(25 << 30));

    play.seen.claim.as_mut().unwrap().status.get_or_insert_default().phase = Some("Bound".into());
    assert_eq!((play.told().status, play.told().reason), ("False", ImageReason::Cutting));
    let snapshot = play.seen.golden_snapshot.as_mut().unwrap();
    snapshot.status = Some(SnapshotStatus { ready_to_use: Some(true), ..SnapshotStatus::default() });
    assert_eq!(play.steps(), [""; 0]);
    assert_eq!((play.told().status, play.told().reason), ("True", ImageReason::Succeeded));
}

#[test]
fn a_class_that_clones_needs_no_snapshot() {
    let mut play = Play::filled(Cut::Clone);
    assert_eq!(play.steps(), ["record Filling", "record Cutting", "record Ready", "create the golden claim"]);
}

#[test]
fn what_cannot_be_cut_is_a_golden_claim_alone() {
    let mut play = Play::snapshots();
    play.seen.plan = Plan::Direct("there is no snapshot controller".into());
    assert_eq!(play.steps(), ["create the golden claim"]);
    assert!(!play.told().cuts, "other claims do not wait for it");
    play.seen.claim.as_mut().unwrap().status.get_or_insert_default().phase = Some("Bound".into());
    assert_eq!(play.told().status, "True");
    play.seen.plan = Plan::Nothing;
    assert_eq!(play.told(), Told::nothing(1));
}

#[test]
fn a_source_that_moved_meanwhile_is_fetched_again_under_its_own_key() {
    let mut play = Play::filled(Cut::Clone);
    play.machinery(SyncPhase::Succeeded, Some("d2"));
    assert_eq!(play.steps(), ["record Filling", "record Unusable", "prune"]);
    assert!(golden(&play.seen.records[0]).reason.as_deref().is_some_and(|reason| reason.contains("changed")));
}

#[test]
fn what_a_stranger_may_have_written_to_is_not_cut() {
    let mut play = Play::filled(Cut::Snapshot("ebs-snapshot".into()));
    play.seen.strangers = vec!["intruder".into()];
    assert_eq!(play.steps()[..2], ["record Filling", "record Unusable"]);
    // Neither while the snapshot is being taken.
    let mut play = Play::filled(Cut::Snapshot("ebs-snapshot".into()));
    play.steps();
    play.snapshot_is_ready();
    play.seen.strangers = vec!["intruder".into()];
    assert_eq!(play.step(), "record Unusable");
}

#[test]
fn a_snapshot_that_nobody_wrote_down_is_not_believed() {
    let mut play = Play::filled(Cut::Snapshot("ebs-snapshot".into()));
    play.steps();
    play.snapshot_is_ready();
    play.seen.snapshot.as_mut().unwrap().metadata.uid = Some("another".into());
    assert_eq!(play.step(), "remove snapshot vm", "ours by its owner");
    play.step();
    play.snapshot_is_ready();
    let foreign = &mut play.seen.snapshot.as_mut().unwrap().metadata;
    (foreign.uid, foreign.owner_references) = (Some("theirs".into()), None);
    assert_eq!(play.step(), "rest", "somebody else's");
    assert_eq!(play.told().reason, ImageReason::NameTaken);
}

#[test]
fn a_snapshot_that_is_late_or_fails_is_waited_for_and_its_error_told() {
    let mut play = Play::filled(Cut::Snapshot("ebs-snapshot".into()));
    play.steps();
    let error = Some(SnapshotError { message: Some("no room".into()) });
    play.seen.snapshot.as_mut().unwrap().status = Some(SnapshotStatus { error, ..SnapshotStatus::default() });
    assert_eq!(play.step(), "rest");
    assert!(play.told().message.contains("no room"), "{:?}", play.told());
    play.snapshot_is_ready();
    play.seen.snapshot.as_mut().unwrap().status.as_mut().unwrap().creation_time = None;
    assert_eq!(play.step(), "rest", "not cut yet, whatever else it says");
}

#[test]
fn a_snapshot_that_is_gone_is_taken_again_as_long_as_there_is_a_master() {
    let mut play = Play::is_ready();
    play.seen.snapshot = None;
    assert_eq!(play.steps()[..2], ["record Cutting", "take the snapshot"]);
    let mut play = Play::is_ready();
    (play.seen.snapshot, play.seen.master) = (None, None);
    assert_eq!(play.steps()[..3], ["record Cutting", "record Unusable", "prune"]);
}

#[test]
fn another_key_takes_the_place_of_the_old_one_only_when_it_is_whole() {
    let mut play = Play::is_ready();
    let first = play.told().golden.unwrap().key;
    Arc::make_mut(&mut play.seen.image).metadata.generation = Some(2);
    (play.seen.master, play.seen.snapshot) = (None, None);
    play.answer("d2");
    assert_eq!(play.step(), "create the master");
    play.machinery(SyncPhase::Queued, None);
    assert_eq!(play.step(), "record Filling");
    assert_eq!(play.told().golden.map(|data| data.key), Some(first.clone()), "the pointer stays");
    play.machinery(SyncPhase::Succeeded, Some("d2"));
    play.steps();
    play.snapshot_is_ready();
    let steps = play.steps();
    assert!(steps.contains(&"record Superseded".to_owned()), "{steps:?}");
    assert_ne!(play.told().golden.map(|data| data.key), Some(first));
}

#[test]
fn an_edit_that_changes_no_byte_costs_no_byte() {
    let mut play = Play::is_ready();
    Arc::make_mut(&mut play.seen.image).metadata.generation = Some(2);
    play.answer("d1");
    assert_eq!(play.step(), "record Ready");
    assert_eq!(golden(&play.seen.records[0]).generation, 2);
}

#[test]
fn an_image_that_is_applied_again_goes_on_with_what_is_there() {
    let mut play = Play::is_ready();
    Arc::make_mut(&mut play.seen.image).metadata.uid = Some("i2".into());
    play.answer("d1");
    assert_eq!(play.step(), "record Ready");
    assert_eq!(golden(&play.seen.records[0]).image_uid, "i2");
}

#[test]
fn an_edit_in_mid_preload_cancels_what_it_supersedes() {
    let mut play = Play::snapshots();
    play.answer("d1");
    play.step();
    play.machinery(SyncPhase::Syncing, None);
    play.step();
    Arc::make_mut(&mut play.seen.image).metadata.generation = Some(2);
    play.answer("d2");
    assert_eq!(play.step(), "prune");
}

#[test]
fn names_that_are_taken_are_told_and_nothing_is_touched() {
    let mut play = Play::snapshots();
    play.answer("d1");
    play.seen.master = Some(PersistentVolumeClaim::default());
    assert_eq!((play.step().as_str(), play.told().reason), ("rest", ImageReason::NameTaken));

    let mut play = Play::is_ready();
    play.seen.claim = Some(PersistentVolumeClaim::default());
    play.seen.golden_snapshot = None;
    assert_eq!((play.step().as_str(), play.told().reason), ("rest", ImageReason::NameTaken));
}

#[test]
fn a_master_whose_record_was_deleted_is_filled_again() {
    let mut play = Play::is_ready();
    play.seen.records.clear();
    play.answer("d1");
    assert_eq!(play.steps()[..2], ["remove the master", "create the master"]);
}

#[test]
fn golden_data_goes_with_its_image_only_where_that_says_so() {
    let mut play = Play::snapshots();
    assert_eq!(objects::master(&play.seen.image, "0123456789").metadata.owner_references, None);
    Arc::make_mut(&mut play.seen.image).spec.golden_policy = populator_crd::v1alpha1::GoldenPolicy::Delete;
    let owners = objects::master(&play.seen.image, "0123456789").metadata.owner_references.unwrap();
    assert_eq!(owners.iter().map(|owner| owner.uid.as_str()).collect::<Vec<_>>(), ["i1"]);
}

#[test]
fn a_master_is_known_by_image_and_key() {
    let play = Play::snapshots();
    let master = objects::master(&play.seen.image, "0123456789");
    assert!(objects::is_master(&master, &play.seen.image));
    assert!(!objects::is_master(&objects::golden_claim(&play.seen.image), &play.seen.image));
    for spoil in [
        (|claim| claim.metadata.name = Some("vm-other".into())) as fn(&mut PersistentVolumeClaim),
        |claim| claim.metadata.namespace = Some("elsewhere".into()),
        |claim| drop(claim.meta_mut().labels.take()),
    ] {
        let mut claim = master.clone();
        spoil(&mut claim);
        assert!(!objects::is_master(&claim, &play.seen.image));
    }
}
