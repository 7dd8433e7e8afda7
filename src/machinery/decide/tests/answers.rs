//! What follows from what the populator answers.

use super::*;

#[test]
fn follows_what_the_populator_says() {
    let wait = || Wait { notice: None, at_most: Some(Duration::from_secs(7)) };
    let prime = || PrimeSpec::default();
    for (case, world, answer, expected) in [
        ("hold", World::fresh(), Populate::Hold(wait()), "rest 7s"),
        ("hold with a prime", World::new(), Populate::Hold(wait()), "rest 7s"),
        ("its turn", World::fresh(), Populate::NeedPrime(prime()), "create prime node-1"),
        ("it has not seen the prime", World::provisioning(), Populate::NeedPrime(prime()), "rest 5s"),
        ("running", World::new(), Populate::Running(wait()), "rest 7s"),
        ("running, no volume yet", World::provisioning(), Populate::Running(Wait::default()), "rest 5s"),
        ("running, no volume yet, and not so soon", World::provisioning(), Populate::Running(wait()), "rest 5s"),
        (
            "running, no volume for long",
            World::provisioning()
                .with(|world| world.prime["metadata"]["creationTimestamp"] = json!("2026-11-21T03:59:50Z")),
            Populate::Running(wait()),
            "await volume 7s",
        ),
        ("filled", World::new(), Populate::Filled, "complete node-1"),
        ("filled before it is bound", World::provisioning(), Populate::Filled, "rest 5s"),
        ("discarded", World::new(), Populate::Discard(wait()), "delete prime"),
        ("discarded, retained", World::new().with(retained), Populate::Discard(wait()), "reclaim"),
        ("discarded, nothing there", World::fresh(), Populate::Discard(wait()), "clean up Discarded 7s"),
        ("failed", World::new(), Populate::Failed(say(notices::selector())), "say SelectorUnsupported, delete prime"),
        ("failed, nothing there", World::fresh(), Populate::Failed(wait()), "clean up Discarded 7s"),
    ] {
        let step = after_populate(&observed(world), Some("node-1".into()), answer);
        assert_eq!(words(&step), expected, "{case}");
    }
    for (case, answer, expected) in [
        ("done", Complete::Done, "inspect"),
        ("not yet", Complete::Wait(wait()), "rest 7s"),
        ("never", Complete::Discard(wait()), "delete prime"),
    ] {
        assert_eq!(words(&after_complete(&observed(World::new()), answer)), expected, "{case}");
    }
}

#[test]
fn a_provisioner_that_fails_is_heard() {
    assert_eq!(words(&await_volume(Wait::default(), Some("no room"))), "rest ProvisioningFailed 5s");
    assert_eq!(words(&await_volume(Wait::default(), None)), "rest 5s");
    assert_eq!(words(&await_volume(say(notices::selector()), Some("no room"))), "rest SelectorUnsupported 5s");
}

#[test]
fn a_refused_prime_is_told_and_paced() {
    let refusal = notices::prime_refused("prime-c1", "exceeded quota");
    let own = say(notices::selector());
    for (case, answer, expected) in [
        ("not looked at", Populate::NeedPrime(PrimeSpec::default()), "rest PopulatorPVCPrimeCreationError 30s"),
        ("held", Populate::Hold(Wait::default()), "rest PopulatorPVCPrimeCreationError"),
        ("held, with a reason of its own", Populate::Hold(own), "rest SelectorUnsupported"),
        ("given up", Populate::Failed(Wait::default()), "clean up Discarded PopulatorPVCPrimeCreationError"),
    ] {
        assert_eq!(words(&after_refusal(&observed(World::fresh()), None, answer, &refusal)), expected, "{case}");
    }
}

#[test]
fn the_prime_goes_after_the_worker_and_takes_its_volume_along() {
    let pending = || Cleanup::Pending(Wait { notice: None, at_most: Some(Duration::from_secs(3)) });
    let ending = |cause| Ending { cause, prime: Remains::Deleted, unpin: None, wait: Wait::default() };
    let unpin = Ending { unpin: Some("node-1".into()), ..ending(Cause::Unplaced) };
    let kept = Ending { prime: Remains::Kept, ..ending(Cause::Mismatch) };
    let along = |cause| Ending { prime: Remains::DeletedAlong, ..ending(cause) };
    let marked = |world: &mut World| {
        world.prime = Value::Null;
        world.volume["metadata"]["labels"] =
            json!({"pelotech.ot/claim-uid": "c1", "pelotech.ot/claim-namespace": "labs"});
    };
    for (case, world, ending, answer, expected) in [
        ("a worker is left", World::new(), ending(Cause::Gone), pending(), "rest 3s"),
        ("a worker is left on the wrong node", World::provisioning(), unpin.clone(), pending(), "rest 3s"),
        ("a worker is left, and the prime lost", World::new(), along(Cause::Lost), pending(), "delete prime"),
        (
            "a worker is left, and the prime lost and going",
            World::new().with(|world| going(&mut world.prime)),
            along(Cause::Lost),
            pending(),
            "rest 3s",
        ),
        ("a worker is left, the class retains", World::new().with(retained), along(Cause::Lost), pending(), "reclaim"),
        ("the prime is lost, no worker left", World::new(), along(Cause::Lost), Cleanup::Done, "delete prime"),
        ("no worker is left", World::new(), ending(Cause::Gone), Cleanup::Done, "delete prime"),
        ("its class retains", World::new().with(retained), ending(Cause::Gone), Cleanup::Done, "reclaim"),
        (
            "the prime goes",
            World::new().with(|world| going(&mut world.prime)),
            ending(Cause::Gone),
            Cleanup::Done,
            "rest",
        ),
        ("nothing is left", World::fresh(), ending(Cause::Gone), Cleanup::Done, "rest"),
        ("bound", World::bound(), ending(Cause::Bound), Cleanup::Done, "delete prime"),
        ("bound, retained", World::bound().with(retained), ending(Cause::Bound), Cleanup::Done, "delete prime"),
        (
            "handed over, then gone, retained",
            World::rebound().with(retained),
            ending(Cause::Gone),
            Cleanup::Done,
            "delete prime",
        ),
        (
            "handed over, then bound elsewhere, retained",
            World::rebound().with(retained),
            ending(Cause::Elsewhere),
            Cleanup::Done,
            "reclaim",
        ),
        (
            "the prime vanished, its volume is retained",
            World::new().with(retained).with(marked),
            ending(Cause::Gone),
            Cleanup::Done,
            "reclaim",
        ),
        ("the node will not do", World::provisioning(), unpin.clone(), Cleanup::Done, "unpin node-1 and delete prime"),
        ("the node would not have done", World::fresh(), unpin, Cleanup::Done, "unpin node-1"),
        ("kept for what it holds", World::new(), kept, Cleanup::Done, "rest"),
    ] {
        assert_eq!(words(&after_cleanup(&observed(world), ending, answer)), expected, "{case}");
    }
}
