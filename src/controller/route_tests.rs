use k8s_openapi::apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::Time};
use populator_crd::v1alpha1::{FailureClass, ImageReason, LastFailure, VMDiskImageSpec, VMDiskSyncSpec};
use serde_json::{from_value, json};

use super::*;

const GIB: i64 = 1 << 30;

/// One question, to be varied; it owns what a [`Question`] borrows.
struct Case {
    image: VMDiskImage,
    purpose: Purpose,
    status: VMDiskSyncStatus,
    target: TargetFacts,
    class: StorageClass,
    golden: Option<GoldenRecord>,
    master: Option<SyncPhase>,
    told: Option<Told>,
}

fn case() -> Case {
    let mut image = VMDiskImage::new(
        "attacker",
        VMDiskImageSpec {
            url: Some("https://host/a.qcow2".into()),
            disk_size: Some(Quantity("24Gi".into())),
            storage_class: Some("gp3".into()),
            ..VMDiskImageSpec::default()
        },
    );
    (image.metadata.uid, image.metadata.generation) = (Some("i1".into()), Some(7));
    let snapshot = Origin { name: "attacker-01234567".into(), uid: "s1".into() };
    Case {
        image,
        purpose: Purpose::Claim,
        status: VMDiskSyncStatus::default(),
        target: TargetFacts {
            storage_class: Some("gp3".into()),
            volume_mode: "Filesystem".into(),
            requested_bytes: 24 * GIB,
        },
        class: from_value(json!({"metadata": {"name": "gp3"}, "provisioner": "ebs"})).unwrap(),
        golden: Some(GoldenRecord {
            key: "0123456789".into(),
            image_uid: "i1".into(),
            generation: 7,
            phase: GoldenPhase::Ready,
            driver: Some("ebs".into()),
            fs_type: Some("ext4".into()),
            snapshot: Some(snapshot),
            ..GoldenRecord::default()
        }),
        master: Some(SyncPhase::Succeeded),
        told: Some(Told {
            cuts: true,
            reason: ImageReason::Succeeded,
            message: "on its way".into(),
            ..Told::nothing(7)
        }),
    }
}

fn chosen(change: impl FnOnce(&mut Case)) -> String {
    let mut case = case();
    change(&mut case);
    let mut master = VMDiskSync::new("attacker-01234567-m1", VMDiskSyncSpec::default());
    (master.spec.claim.name, master.spec.claim.uid) = ("attacker-01234567".into(), "m1".into());
    master.status = Some(VMDiskSyncStatus {
        phase: case.master,
        golden: case.golden.clone().map(Box::new),
        ..VMDiskSyncStatus::default()
    });
    let choice = choose(&Question {
        image: &case.image,
        purpose: case.purpose,
        status: &case.status,
        target: &case.target,
        class: Some(&case.class),
        masters: &[Arc::new(master)],
        told: case.told.as_ref(),
    });
    match choice.unwrap() {
        Choice::Wait(what) => format!("wait: {what}"),
        Choice::Go(Route { kind, from, reason }) => {
            let from = from.map(|from| format!(" from {}", from.uid)).unwrap_or_default();
            let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("{kind:?}{from}{reason}")
        }
    }
}

fn golden_of(case: &mut Case) -> &mut GoldenRecord {
    case.golden.as_mut().unwrap()
}

#[test]
fn a_claim_that_golden_data_fits_is_cut_from_it() {
    assert_eq!(chosen(|_| {}), "Snapshot from s1");
    assert_eq!(chosen(|case| case.target.requested_bytes = 30 * GIB), "Snapshot from s1");
    assert_eq!(chosen(|case| golden_of(case).snapshot = None), "Clone from m1");
    let other_class = |case: &mut Case| {
        case.target.storage_class = Some("gp3-fast".into());
        case.class = from_value(json!({"metadata": {"name": "gp3-fast"}, "provisioner": "ebs",
                                       "parameters": {FS_TYPE: "ext4"}}))
        .unwrap();
    };
    assert_eq!(chosen(other_class), "Snapshot from s1", "a class of the same driver and file system");
}

#[test]
fn a_claim_that_it_does_not_fit_is_fetched_and_the_reason_said() {
    type Change = fn(&mut Case);
    let cases: [(Change, &str); 5] = [
        (|case| case.target.requested_bytes = 23 * GIB, "golden data has 25769803776 bytes"),
        (|case| case.target.volume_mode = "Block".into(), "golden data has volumeMode Filesystem"),
        (
            |case| {
                case.target.storage_class = Some("nfs".into());
                case.class.provisioner = "nfs".into();
            },
            "golden data is in driver ebs, the claim's class in nfs",
        ),
        (|case| case.target.storage_class = Some("gp3-xfs".into()), "golden data has file system ext4"),
        (
            |case| {
                golden_of(case).phase = GoldenPhase::Filling;
                case.master = Some(SyncPhase::Failed);
            },
            "the golden master could not be filled",
        ),
    ];
    for (change, why) in cases {
        let chosen = chosen(change);
        assert!(chosen.starts_with("Fetch: ") && chosen.contains(why), "{chosen}");
    }
}

#[test]
fn a_claim_waits_while_the_source_side_is_at_work() {
    type Change = fn(&mut Case);
    let cases: [(&str, Change); 5] = [
        ("filling", |case| golden_of(case).phase = GoldenPhase::Filling),
        ("cutting", |case| golden_of(case).phase = GoldenPhase::Cutting),
        ("another one is to be made", |case| golden_of(case).phase = GoldenPhase::Unusable),
        ("of another spec", |case| golden_of(case).generation = 6),
        ("nothing recorded", |case| case.golden = None),
    ];
    for (what, change) in cases {
        assert_eq!(chosen(change), "wait: on its way", "{what}");
    }
    let unknown = chosen(|case| case.told = None);
    assert!(unknown.starts_with("wait: "), "{unknown}");
    assert_eq!(chosen(|case| case.told.as_mut().unwrap().generation = 6), unknown, "told of another spec");
}

#[test]
fn without_golden_data_claims_are_fetched_unless_the_policy_of_the_image_forbids_it() {
    let nothing = |case: &mut Case| case.image.spec.storage_class = None;
    assert_eq!(chosen(nothing), "Fetch");
    assert_eq!(chosen(|case| case.told.as_mut().unwrap().cuts = false), "Fetch");
    let never = chosen(|case| {
        nothing(case);
        case.image.spec.pull_policy = PullPolicy::Never;
    });
    assert!(never.starts_with("wait: pullPolicy is Never"), "{never}");
    assert_eq!(chosen(|case| case.purpose = Purpose::Master), "Fetch", "the master itself");
    assert_eq!(chosen(|case| case.image.spec.source_type = Some(SourceType::Blank)), "Blank");
}

#[test]
fn a_claim_that_could_not_be_cut_twice_is_fetched_for_good() {
    let failed = |attempt, interruptions| {
        move |case: &mut Case| {
            case.status.route = Some(Route {
                kind: RouteKind::Snapshot,
                from: Some(Origin { name: "n".into(), uid: "s1".into() }),
                reason: None,
            });
            (case.status.attempt, case.status.interruptions) = (attempt, interruptions);
            case.status.last_failure = Some(LastFailure {
                class: FailureClass::Transient,
                reason: "NoDisk".into(),
                message: "nothing there".into(),
                time: Time(jiff::Timestamp::UNIX_EPOCH),
                found_by: None,
            });
        }
    };
    assert_eq!(chosen(failed(1, 0)), "Snapshot from s1");
    assert_eq!(chosen(failed(3, 2)), "Snapshot from s1", "interruptions are the cluster's");
    let why = "it could not be cut from golden data (NoDisk: nothing there)";
    assert_eq!(chosen(failed(2, 0)), format!("Fetch: {why}"));
    let again = chosen(|case| {
        failed(3, 0)(case);
        case.status.route = Some(Route { kind: RouteKind::Fetch, from: None, reason: Some(why.into()) });
    });
    assert_eq!(again, format!("Fetch: {why}"));
}

#[test]
fn a_prime_is_made_from_what_the_route_names() {
    let from = Some(Origin { name: "attacker-01234567".into(), uid: "u".into() });
    let source = |kind| {
        let source = data_source(&Route { kind, from: from.clone(), reason: None });
        source.map(|source| (source.api_group.unwrap_or_default(), source.kind, source.name))
    };
    let named = |group: &str, kind: &str| Some((group.to_owned(), kind.to_owned(), "attacker-01234567".to_owned()));
    assert_eq!(source(RouteKind::Snapshot), named("snapshot.storage.k8s.io", "VolumeSnapshot"));
    assert_eq!(source(RouteKind::Clone), named("", "PersistentVolumeClaim"));
    assert_eq!(source(RouteKind::Fetch), None);
}
