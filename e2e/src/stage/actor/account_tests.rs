use super::*;

#[test]
fn a_script_is_followed_and_its_last_end_stays() {
    let mut account = Account::default();
    account.script("disk", [End::Transient, End::Missing, End::Done]);
    let ends: Vec<End> = (0..5).map(|number| account.begin("disk", &format!("pod-{number}"), true)).collect();
    assert_eq!(ends, [End::Transient, End::Missing, End::Done, End::Done, End::Done]);
    assert_eq!(account.begin("other", "pod", true), End::Done, "an image without a script is fetched well");
}

#[test]
fn every_use_of_the_network_is_counted_and_nothing_else() {
    let mut account = Account::default();
    account.script("disk", [End::Missing, End::Done]);
    account.begin("disk", "a", true);
    account.begin("disk", "b", true);
    account.begin("blank", "c", false);
    let paid: Vec<u64> = account.fetches("disk").iter().map(|fetch| fetch.bytes).collect();
    assert_eq!(paid, [0, IMAGE_BYTES]);
    assert_eq!(account.fetches("blank"), []);
}

#[test]
fn the_controller_reads_every_end_as_it_is_meant() {
    for (end, code, class) in [
        (End::Done, 0, Some(ExitClass::Done)),
        (End::Transient, 10, Some(ExitClass::Transient)),
        (End::Missing, 11, Some(ExitClass::SourceMissing)),
        (End::Denied, 12, Some(ExitClass::Denied)),
        (End::Mismatch, 14, Some(ExitClass::VerificationFailed)),
        (End::Malformed, 15, Some(ExitClass::Malformed)),
        (End::Hangs, 10, Some(ExitClass::Transient)),
        (End::Killed, 137, None),
        (End::Evicted, 137, None),
    ] {
        let verdict = end.verdict("disk", IMAGE_BYTES);
        assert_eq!(verdict.exit_code, code, "{end:?}");
        assert_eq!(Report::parse(&verdict.message).map(|report| report.class), class, "{end:?}");
        assert_eq!(verdict.whole, end == End::Done, "{end:?}");
    }
}

#[test]
fn a_volume_that_was_whole_is_not_after_another_worker() {
    let mut account = Account::default();
    account.wrote("volume", "disk", true);
    assert_eq!(account.contents("volume").whole_of.as_deref(), Some("disk"));
    account.wrote("volume", "disk", false);
    assert_eq!(account.contents("volume"), Contents { whole_of: None, written: true });
}
