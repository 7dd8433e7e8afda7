use populator_crd::v1alpha1::{Progress, Stage};

use super::*;

#[test]
fn a_sync_is_one_line() {
    let progress = Progress {
        percent: Some(42),
        bytes_fetched: 81 << 20,
        bytes_per_second: Some(9 << 20),
        stage: Some(Stage::Fetching),
        ..Progress::default()
    };
    for (phase, progress, expected) in [
        (None, None, "Queued"),
        (Some(SyncPhase::Syncing), None, "Syncing"),
        (Some(SyncPhase::Syncing), Some(progress.clone()), "Syncing   42%  Fetching      81 MiB, 9 MiB/s"),
        (Some(SyncPhase::Succeeded), Some(progress), "Succeeded"),
    ] {
        let status = VMDiskSyncStatus { phase, progress, ..VMDiskSyncStatus::default() };
        assert_eq!(line(&status), expected);
    }
}
