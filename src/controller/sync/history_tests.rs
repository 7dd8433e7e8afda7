use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use populator_crd::v1alpha1::VMDiskSyncStatus;

use super::*;

#[test]
fn only_what_ended_long_ago_is_forgotten() {
    let now = Timestamp::from_second(1_000_000).unwrap();
    let keep = Duration::from_secs(100);
    for (phase, finished, old) in [
        (SyncPhase::Succeeded, Some(101), true),
        (SyncPhase::Failed, Some(101), true),
        (SyncPhase::Cancelled, Some(101), true),
        (SyncPhase::Succeeded, Some(100), false),
        (SyncPhase::Succeeded, None, false),
        (SyncPhase::Syncing, Some(101), false),
        (SyncPhase::BackingOff, None, false),
    ] {
        let sync = VMDiskSync {
            status: Some(VMDiskSyncStatus {
                phase: Some(phase),
                finished_at: finished.map(|ago| Time(now - SignedDuration::from_secs(ago))),
                ..VMDiskSyncStatus::default()
            }),
            ..VMDiskSync::default()
        };
        assert_eq!(is_old(&sync, keep, now), old, "{phase:?} {finished:?}");
    }
    assert!(!is_old(&VMDiskSync::default(), keep, now));
}
