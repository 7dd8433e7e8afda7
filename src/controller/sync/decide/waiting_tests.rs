use populator_crd::v1alpha1::LastFailure;

use super::*;

#[test]
fn a_new_sync_asks_for_its_turn_and_waits_for_it_without_a_word() {
    let mut case = Case::new(VMDiskSyncStatus { phase: Some(SyncPhase::Queued), ..VMDiskSyncStatus::default() });
    assert_eq!(case.next(), Step::AskGate(Some(at(0))), "its place is that of its creation");
    case.permit = Permit::Waiting(at(0));
    assert_eq!(case.next(), Step::Answer(Answer::Hold(None, Some(Duration::from_secs(590)))), "nothing is written");
    case.now = 600;
    let Step::Answer(Answer::Hold(Some(notice), None)) = case.next() else { panic!("{:?}", case.next()) };
    assert_eq!((notice.reason, notice.warning), ("Queued", false), "after a while its claim is told");

    let case = Case::new(queued());
    assert_eq!(case.next(), Step::AskGate(Some(at(1))), "with the place that its record says");
    let aside = transition::set_aside(&syncing(), false, at(5));
    let mut case = Case::new(aside);
    assert_eq!(case.next(), Step::AskGate(None), "what was set aside joins at the tail");
    case.permit = Permit::Waiting(at(9));
    assert_eq!(case.written().2.enqueued_at.map(|time| time.0), Some(at(9)));
}

#[test]
fn a_free_permit_makes_the_first_write_an_admission() {
    for status in [VMDiskSyncStatus::default(), queued()] {
        let (phase, _, status) = Case { permit: Permit::Fresh, ..Case::new(status) }.written();
        assert_eq!((phase, status.attempt), (SyncPhase::Syncing, 1));
        assert_eq!(status.image_generation, Some(GENERATION));
    }
}

#[test]
fn what_an_earlier_attempt_left_goes_before_the_turn_comes() {
    for status in [queued(), backing_off(false)] {
        let left = Case { prime: Prime::Bound, permit: Permit::Fresh, now: 1_000, ..Case::new(status.clone()) };
        assert!(matches!(left.next(), Step::Answer(Answer::Discard(..))), "a prime that nobody kept");
        let left = Case { worker: ended(ExitClass::Transient), now: 1_000, ..Case::new(status.clone()) };
        assert_eq!(left.next(), Step::DeleteWorker);
        let left = Case { worker: Worker::Stopping, now: 1_000, ..Case::new(status) };
        assert!(matches!(left.next(), Step::Answer(Answer::Hold(None, Some(_)))));
    }
}

#[test]
fn backing_off_lasts_until_it_is_due_and_rejoins_at_the_tail() {
    let waiting = Case { prime: Prime::Bound, ..Case::new(backing_off(true)) };
    let Step::Answer(Answer::Hold(Some(notice), Some(wait))) = waiting.next() else { panic!("{:?}", waiting.next()) };
    assert_eq!((notice.reason, wait), ("SyncRetrying", Duration::from_secs(295)));
    let mut due = Case { now: 305, prime: Prime::Bound, ..Case::new(backing_off(true)) };
    assert_eq!(due.next(), Step::AskGate(None), "without its old place");
    due.permit = Permit::Waiting(at(305));
    let (phase, _, status) = due.written();
    assert_eq!((phase, status.enqueued_at.map(|time| time.0)), (SyncPhase::Queued, Some(at(305))));
    assert_eq!(status.prime.as_deref(), Some("prime-u"), "kept, to go on in");
    due.permit = Permit::Fresh;
    let (phase, _, status) = due.written();
    assert_eq!((phase, status.attempt), (SyncPhase::Syncing, 2));
}

#[test]
fn a_failed_attempts_prime_goes_and_its_worker_with_it() {
    let case = Case { prime: Prime::Bound, worker: ended(ExitClass::Transient), ..Case::new(backing_off(false)) };
    assert!(matches!(case.next(), Step::Answer(Answer::Discard(Some(_), Some(_)))));
    let kept = Case { worker: ended(ExitClass::Transient), prime: Prime::Bound, ..Case::new(backing_off(true)) };
    assert_eq!(kept.next(), Step::DeleteWorker, "the worker goes, the prime stays");
}

#[test]
fn a_failed_worker_is_kept_to_be_looked_at_if_the_policy_says_so() {
    let policy = Policy { keep_failed_workers: true, ..Policy::default() };
    let looked_at = |status, now| Case {
        policy: policy.clone(),
        worker: ended(ExitClass::Transient),
        prime: Prime::Bound,
        now,
        ..Case::new(status)
    };
    assert!(matches!(looked_at(backing_off(false), 10).next(), Step::Answer(Answer::Hold(Some(_), Some(_)))));
    assert!(matches!(looked_at(backing_off(false), 305).next(), Step::Answer(Answer::Discard(..))), "until the next");
    assert!(matches!(looked_at(failed_for_good(), 305).next(), Step::Answer(Answer::Hold(Some(_), None))));
}

#[test]
fn what_failed_for_good_waits_for_a_change() {
    let Step::Answer(Answer::Failed(notice)) = Case::new(failed_for_good()).next() else { panic!() };
    assert_eq!(notice.reason, "ImageRefused");
}

fn found(class: FailureClass) -> LastFailure {
    let time = Time(at(1));
    LastFailure { class, reason: "Found".into(), message: "m".into(), time, found_by: Some("other".into()) }
}

#[test]
fn what_another_sync_finds_out_spares_an_attempt() {
    let with = |status, verdict| Case { verdict, ..Case::new(status) };
    for status in [VMDiskSyncStatus::default(), queued()] {
        let (phase, failure, status) = with(status, Verdict::Fail(found(FailureClass::Final))).written();
        assert_eq!((phase, failure.as_str(), status.attempt), (SyncPhase::Failed, "Found", 0));
        assert_eq!(status.image_generation, Some(GENERATION));
        let mut copied = with(status, Verdict::Fail(found(FailureClass::Final)));
        assert!(matches!(copied.next(), Step::Answer(Answer::Failed(_))));
        copied.verdict = Verdict::Go;
        assert_eq!(copied.written().0, SyncPhase::Queued, "what was found is taken back");
    }
    let waits = || Verdict::Wait { on: "other".into(), failure: Some(found(FailureClass::SourceMissing)), until: None };
    let (phase, _, status) = with(queued(), waits()).written();
    assert_eq!(
        (phase, status.enqueued_at.clone().map(|time| time.0)),
        (SyncPhase::Queued, Some(at(1))),
        "it keeps its place"
    );
    assert!(transition::waits_for_others(Some(&status)));
    let Step::Answer(Answer::Hold(Some(notice), None)) = with(status, waits()).next() else { panic!() };
    assert_eq!(notice.reason, "SourceMissing");
    let fresh = Case { permit: Permit::Fresh, ..with(queued(), waits()) };
    assert_eq!(fresh.written().0, SyncPhase::Queued, "also when its turn has come");
}

fn missing() -> VMDiskSyncStatus {
    let failure = Failure {
        class: FailureClass::SourceMissing,
        counts: false,
        ..Failure::not_started("NotFound", "it is not there".into())
    };
    transition::failed(&syncing(), &failure, None, &Policy::default(), at(5), 0.5)
}

#[test]
fn a_source_that_is_missing_is_asked_again_without_a_volume() {
    let mut due = Case { now: 305, ..Case::new(missing()) };
    assert_eq!(due.next(), Step::CreateInspector);
    due.may_inspect = false;
    assert!(matches!(due.next(), Step::Answer(Answer::Hold(Some(_), Some(_)))));
    due.asks = false;
    assert!(matches!(due.next(), Step::Answer(Answer::Hold(Some(_), None))), "another sync asks for all");

    let inspecting = |worker| Case { worker, inspects: true, now: 310, ..Case::new(missing()) };
    assert!(matches!(inspecting(Worker::Running).next(), Step::Answer(Answer::Hold(Some(_), Some(_)))));
    let (phase, _, status) = inspecting(ended(ExitClass::Done)).written();
    assert_eq!((phase, status.last_failure, status.attempt), (SyncPhase::Queued, None, 1));
    let (phase, failure, status) = inspecting(ended(ExitClass::SourceMissing)).written();
    assert_eq!((phase, failure.as_str()), (SyncPhase::BackingOff, "SourceMissing"));
    assert_eq!((status.attempt, status.interruptions, status.pod_uid), (1, 1, None), "a question is no attempt");
    assert_eq!(inspecting(ended(ExitClass::Malformed)).written().0, SyncPhase::Failed);
    assert_eq!(inspecting(Worker::Lost).next(), Step::DeleteWorker);
    let Worker::Ended(killed) = ended(ExitClass::Transient) else { panic!() };
    let killed = Worker::Ended(Box::new(Ended { outcome: Outcome::Killed, report: None, ..*killed }));
    let (phase, _, status) = inspecting(killed).written();
    let class = status.last_failure.map(|failure| failure.class);
    assert_eq!((phase, class), (SyncPhase::BackingOff, Some(FailureClass::SourceMissing)), "the finding stands");
    assert_eq!(Case { now: 700, ..inspecting(starting()) }.next(), Step::DeleteWorker, "it never started");
}
