use super::*;

#[test]
fn an_admitted_sync_gets_its_prime_and_then_its_worker() {
    let mut case = Case::new(syncing());
    assert_eq!(case.next(), Step::AskGate(None));
    case.permit = Permit::Fresh;
    assert_eq!(case.next(), Step::Answer(Answer::NeedPrime));
    case.prime = Prime::Pending;
    assert!(matches!(case.next(), Step::Answer(Answer::Running(Some(_)))), "a pod before its volume only waits");
    case.worker_binds = true;
    assert_eq!(case.next(), Step::CreateWorker, "unless it is what the volume waits for");
    case.worker_binds = false;
    case.prime = Prime::Bound;
    assert_eq!(case.next(), Step::CreateWorker);
}

#[test]
fn a_worker_that_may_have_run_unseen_is_counted() {
    let used = |prime| Case { permit: Permit::Used, prime, ..Case::new(syncing()) };
    assert_eq!(used(Prime::Pending).next(), Step::Vouch, "without a volume none can have run");
    for prime in [Prime::Absent, Prime::Bound] {
        let (phase, failure, status) = used(prime).written();
        assert_eq!((phase, failure.as_str()), (SyncPhase::BackingOff, "WorkerGone"), "{prime:?}");
        assert_eq!((status.interruptions, status.disruptions), (1, 1), "counted before anything is made again");
        assert_eq!((status.prime, status.prime_uid), (None, None), "what it wrote is not to be trusted");
    }
}

#[test]
fn what_the_worker_does_decides_while_it_syncs() {
    let with = |worker| Case { worker, prime: Prime::Bound, ..Case::new(syncing()) };
    assert!(matches!(with(Worker::Running).next(), Step::Answer(Answer::Running(Some(_)))));
    assert!(matches!(with(Worker::Stopping).next(), Step::Answer(Answer::Running(Some(_)))));
    assert_eq!(with(ended(ExitClass::Done)).next(), Step::Answer(Answer::Filled));
    for (class, phase) in [
        (ExitClass::Transient, SyncPhase::BackingOff),
        (ExitClass::TargetIo, SyncPhase::BackingOff),
        (ExitClass::SourceMissing, SyncPhase::BackingOff),
        (ExitClass::Denied, SyncPhase::BackingOff),
        (ExitClass::DoesNotFit, SyncPhase::Failed),
        (ExitClass::VerificationFailed, SyncPhase::Failed),
        (ExitClass::Malformed, SyncPhase::Failed),
        (ExitClass::BadJob, SyncPhase::Failed),
    ] {
        let (written, failure, _) = with(ended(class)).written();
        assert_eq!((written, failure), (phase, format!("{class:?}")));
    }
    let (phase, failure, status) = with(Worker::Lost).written();
    assert_eq!((phase, failure.as_str(), status.interruptions), (SyncPhase::BackingOff, "NodeLost", 1));
}

#[test]
fn nothing_sits_on_a_permit_beyond_the_start_timeout() {
    for (worker, prime, refused, reason) in [
        (starting(), Prime::Bound, None, "WorkerNotStarted"),
        (starting(), Prime::Pending, None, "VolumeNotProvisioned"),
        (Worker::Absent, Prime::Absent, None, "VolumeNotProvisioned"),
        (Worker::Absent, Prime::Pending, None, "VolumeNotProvisioned"),
        (Worker::Absent, Prime::Bound, None, "WorkerNotStarted"),
    ] {
        let mut case = Case { worker, prime, refused, permit: Permit::Fresh, now: 301, ..Case::new(syncing()) };
        let waits =
            matches!(case.next(), Step::Answer(Answer::Running(Some(_)) | Answer::NeedPrime) | Step::CreateWorker);
        assert!(waits, "{reason}");
        case.now = 302;
        let (phase, failure, status) = case.written();
        assert_eq!((phase, failure.as_str()), (SyncPhase::BackingOff, reason));
        assert_eq!((status.interruptions, status.disruptions), (1, 0), "it cost nothing, so it does not count");
    }
    let refused = Case { refused: Some("exceeded quota"), permit: Permit::Fresh, ..Case::new(syncing()) };
    let (phase, failure, status) = refused.written();
    assert_eq!((phase, failure.as_str()), (SyncPhase::BackingOff, "VolumeRefused"), "at once");
    assert!(status.last_failure.is_some_and(|last| last.message.contains("exceeded quota")));
}

#[test]
fn a_worker_that_waits_is_quoted() {
    let case = Case { worker: starting(), prime: Prime::Bound, now: 1_000, ..Case::new(syncing()) };
    let (_, _, status) = case.written();
    assert!(status.last_failure.is_some_and(|last| last.message.contains("ErrImagePull: no such image")));
}

#[test]
fn a_worker_is_written_down_before_it_can_run() {
    for worker in [Worker::Running, starting()] {
        let mut case = Case { worker, prime: Prime::Bound, unwritten: true, ..Case::new(syncing()) };
        assert_eq!(case.next(), Step::Write(Box::new(case.status.clone())));
        case.unwritten = false;
        assert!(matches!(case.next(), Step::Answer(Answer::Running(Some(_)))));
    }
}

#[test]
fn a_prime_that_waits_for_its_volume_is_written_down_before_long() {
    let mut case =
        Case { prime: Prime::Pending, unwritten: true, permit: Permit::Fresh, now: 3, ..Case::new(syncing()) };
    assert_eq!(case.next(), Step::Answer(Answer::Running(Some(Duration::from_secs(1)))), "most have a volume by then");
    case.now = 4;
    assert_eq!(case.next(), Step::Write(Box::new(case.status.clone())));
    case.unwritten = false;
    assert!(matches!(case.next(), Step::Answer(Answer::Running(Some(_)))));
}

#[test]
fn a_worker_that_its_node_does_not_stop_is_stopped() {
    let mut case =
        Case { worker: Worker::Running, prime: Prime::Bound, now: 2 + 43_200 + 300 + 59, ..Case::new(syncing()) };
    assert!(matches!(case.next(), Step::Answer(Answer::Running(Some(_)))));
    case.now += 1;
    let (phase, failure, status) = case.written();
    assert_eq!((phase, failure.as_str(), status.interruptions), (SyncPhase::BackingOff, "AttemptTimeout", 0));
}

#[test]
fn a_pod_that_others_keep_running_goes_before_the_hand_over() {
    let Worker::Ended(done) = ended(ExitClass::Done) else { panic!() };
    let held = Worker::Ended(Box::new(Ended { at_rest: false, ..*done }));
    let mut case = Case { worker: held, prime: Prime::Bound, ..Case::new(syncing()) };
    let (phase, _, status) = case.written();
    assert_eq!((phase, status.filled_at.clone()), (SyncPhase::Syncing, Some(Time(at(10)))));
    case.status = status;
    assert_eq!(case.next(), Step::DeleteWorker, "once its word is written down");
    case.worker = Worker::Stopping;
    assert!(matches!(case.next(), Step::Answer(Answer::Running(Some(_)))));
    case.worker = Worker::Absent;
    assert_eq!(case.next(), Step::Answer(Answer::Filled));
    case.prime = Prime::Absent;
    assert_ne!(case.next(), Step::Answer(Answer::Filled), "not without its volume");
}
