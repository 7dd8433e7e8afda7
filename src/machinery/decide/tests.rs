//! Every state a claim's world can be in, and the one step that follows.

mod world;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, from_value, json};

use super::*;
use crate::{
    observed::Node,
    populator::{Made, Recorded},
};
use world::{World, going, retained};

/// A step in a few words, so that a table of them can be read.
fn words(step: &Step) -> String {
    let wait = |wait: &Wait| {
        let notice = wait.notice.as_ref().map(|notice| format!(" {}", notice.reason)).unwrap_or_default();
        let at_most = wait.at_most.map(|at_most| format!(" {}s", at_most.as_secs())).unwrap_or_default();
        format!("{notice}{at_most}")
    };
    match step {
        Step::Rest(rest) => format!("rest{}", wait(rest)),
        Step::Populate(node) => format!("populate {}", node.as_deref().unwrap_or("anywhere")),
        Step::Complete(node) => format!("complete {}", node.as_deref().unwrap_or("anywhere")),
        Step::Inspect => "inspect".into(),
        Step::AwaitVolume(rest) => format!("await volume{}", wait(rest)),
        Step::Tell(notice, next) => format!("say {}, {}", notice.reason, words(next)),
        Step::Cleanup(ending) => {
            let unpin = ending.unpin.as_ref().map(|node| format!(" unpin {node}")).unwrap_or_default();
            let kept = match ending.prime {
                Remains::Kept => " keep",
                Remains::DeletedAlong => " prime along",
                Remains::Deleted => "",
            };
            format!("clean up {:?}{unpin}{kept}{}", ending.cause, wait(&ending.wait))
        }
        Step::Write(Write::CreatePrime { node, .. }) => {
            format!("create prime {}", node.as_deref().unwrap_or("anywhere"))
        }
        Step::Write(Write::DeletePrime(_)) => "delete prime".into(),
        Step::Write(Write::Reclaim(_)) => "reclaim".into(),
        Step::Write(Write::Rebind(_)) => "rebind".into(),
        Step::Write(Write::Unpin { node, prime }) => {
            format!("unpin {node}{}", if prime.is_some() { " and delete prime" } else { "" })
        }
    }
}

fn check(cases: impl IntoIterator<Item = (&'static str, World, &'static str)>) {
    for (case, world, expected) in cases {
        assert_eq!(words(&decide(&world.observed())), expected, "{case}");
    }
}

#[test]
fn a_claim_that_is_gone_is_cleaned_up_whatever_else_is_the_case() {
    let refused = || Source::Refused(notices::no_storage_class());
    check([
        ("gone", World::new().with(|world| world.claim = Value::Null), "delete prime"),
        (
            "gone, and the prime with it",
            World::new().with(|world| {
                world.claim = Value::Null;
                going(&mut world.prime);
            }),
            "clean up Gone",
        ),
        ("gone, retained", World::new().with(retained).with(|world| world.claim = Value::Null), "reclaim"),
        ("gone with everything", World::fresh().with(|world| world.claim = Value::Null), "clean up Gone"),
        ("going", World::new().with(|world| going(&mut world.claim)), "delete prime"),
        ("going after the swap", World::rebound().with(|world| going(&mut world.claim)), "delete prime"),
        (
            "going, without source, class and node",
            World::new().placed().with(|world| {
                going(&mut world.claim);
                world.source = refused();
                world.class = Value::Null;
                world.node = Node::Gone;
            }),
            "delete prime",
        ),
    ]);
}

#[test]
fn a_claim_that_has_a_volume_gets_no_other() {
    let elsewhere = |world: World| {
        world.with(|world| {
            world.claim["spec"]["volumeName"] = json!("pv-other");
            world.claim["status"]["phase"] = json!("Bound");
        })
    };
    check([
        ("bound to ours", World::bound(), "say PopulatorFinished, delete prime"),
        ("bound to ours, prime going", World::bound().with(|world| going(&mut world.prime)), "clean up Bound"),
        ("bound to ours, long ago", World::bound().with(|world| world.prime = Value::Null), "clean up Bound"),
        (
            "named, not bound yet",
            World::bound().with(|world| world.claim["status"]["phase"] = json!("Pending")),
            "rest 60s",
        ),
        ("bound elsewhere", elsewhere(World::new()), "say BoundElsewhere, delete prime"),
        ("bound elsewhere after the swap", elsewhere(World::rebound()), "say BoundElsewhere, delete prime"),
        ("bound elsewhere before our time", elsewhere(World::fresh()), "clean up Elsewhere"),
        (
            "bound elsewhere while it was queued",
            elsewhere(World::fresh()).with(|world| world.in_flight = true),
            "clean up Elsewhere BoundElsewhere",
        ),
        (
            "bound to a volume that was never handed over",
            World::bound().with(|world| world.volume["metadata"]["annotations"] = Value::Null),
            "say BoundElsewhere, delete prime",
        ),
    ]);
}

#[test]
fn a_volume_that_was_handed_over_is_waited_for_and_never_replaced() {
    check([
        ("with its prime", World::rebound(), "rest 60s"),
        ("without its prime", World::rebound().with(|world| world.prime = Value::Null), "rest 60s"),
        (
            "without source and class",
            World::rebound().with(|world| {
                world.source = Source::Refused(notices::no_storage_class());
                world.class = Value::Null;
            }),
            "rest 60s",
        ),
        (
            "after the deadline",
            World::rebound().with(|world| world.now = "2026-11-21T04:01:00Z"),
            "rest BindDeadlineExceeded",
        ),
        (
            "if it does not say since when",
            World::rebound().with(|world| world.volume["metadata"]["annotations"] = json!({})),
            "rest 120s",
        ),
    ]);
}

#[test]
fn a_claim_that_may_not_be_filled_is_refused() {
    check([
        (
            "no source",
            World::fresh().with(|world| world.source = Source::Refused(notices::source_not_found("K", "n", "x"))),
            "clean up Refused PopulatorDataSourceNotFound",
        ),
        (
            "the source vanished meanwhile",
            World::new().with(|world| world.source = Source::Refused(notices::source_not_found("K", "n", "x"))),
            "clean up Refused PopulatorDataSourceNotFound",
        ),
        (
            "no grant",
            World::fresh().with(|world| world.source = Source::Refused(notices::not_granted("K", "n", "x", "y"))),
            "clean up Refused ReferenceNotGranted",
        ),
        ("no class", World::fresh().with(|world| world.class = Value::Null), "clean up Refused StorageClassNotFound"),
        ("the class vanished meanwhile", World::new().with(|world| world.class = Value::Null), "populate anywhere"),
    ]);
}

#[test]
fn what_is_worthless_goes() {
    let worker = json!([{"metadata": {"name": "populate-c1", "namespace": "labs"}}]);
    let other = json!([{"metadata": {"name": "inspect-c1", "namespace": "labs"}}]);
    let elsewhere = json!([{"metadata": {"name": "populate-c1", "namespace": "images"}}]);
    check([
        ("the prime goes", World::new().with(|world| going(&mut world.prime)), "clean up Lost"),
        (
            "the volume vanished",
            World::new().with(|world| world.volume = Value::Null),
            "clean up Lost prime along VolumeLost",
        ),
        (
            "the volume goes",
            World::new().with(|world| going(&mut world.volume)),
            "clean up Lost prime along VolumeLost",
        ),
        (
            "the volume is somebody else's",
            World::new().with(|world| world.volume["spec"]["claimRef"]["uid"] = json!("x")),
            "clean up Lost prime along VolumeLost",
        ),
        (
            "the prime is lost",
            World::new().with(|world| world.prime["status"]["phase"] = json!("Lost")),
            "clean up Lost prime along VolumeLost",
        ),
        (
            "the prime is lost, and its class retains",
            World::new().with(retained).with(|world| world.prime["status"]["phase"] = json!("Lost")),
            "clean up Lost prime along VolumeLost",
        ),
        (
            "the source is elsewhere now",
            World::new().with(|world| world.source_namespace = "images"),
            "clean up Lost prime along",
        ),
        ("a worker outlived its prime", World::fresh().with(|world| world.workers = worker.clone()), "clean up Lost"),
        (
            "a worker is left where the source was",
            World::fresh().with(|world| world.workers = elsewhere),
            "populate anywhere",
        ),
        ("a helper came before the prime", World::fresh().with(|world| world.workers = other), "populate anywhere"),
        (
            "the volume does not match",
            World::new().with(|world| world.volume["spec"]["capacity"]["storage"] = json!("1Mi")),
            "clean up Mismatch keep VolumeMismatch",
        ),
    ]);
}

fn just_going(object: &mut Value) {
    object["metadata"]["deletionTimestamp"] = json!("2026-11-21T03:59:55Z");
}

#[test]
fn what_has_the_primes_name_is_removed_or_waited_for() {
    let stray = |unrecorded: bool, change: fn(&mut Value)| {
        World::fresh().with(|world| {
            let mut object = World::new().prime;
            change(&mut object);
            world.stray = Some((object, unrecorded));
        })
    };
    check([
        ("made by an earlier process", stray(true, |_| ()), "clean up Lost prime along"),
        ("somebody else's", stray(false, |_| ()), "clean up Refused PopulatorPVCPrimeCreationError 30s"),
        (
            "somebody else's, going for an hour",
            stray(false, going),
            "clean up Refused PopulatorPVCPrimeCreationError 30s",
        ),
        ("somebody else's, going", stray(false, just_going), "clean up Refused 5s"),
        ("made by an earlier process, going", stray(true, just_going), "clean up Refused 5s"),
        (
            "made by an earlier process, and held",
            stray(true, going),
            "clean up Refused PopulatorPVCPrimeCreationError 30s",
        ),
    ]);
    let with_volume = |unrecorded| {
        stray(unrecorded, |_| ()).with(|world| {
            world.volume = World::new().volume;
            retained(world);
        })
    };
    let lost = Ending { cause: Cause::Lost, prime: Remains::DeletedAlong, unpin: None, wait: Wait::default() };
    let refused = Ending { cause: Cause::Refused, prime: Remains::Deleted, ..lost.clone() };
    for (case, world, ending, expected) in [
        ("an earlier process'", stray(true, |_| ()), lost.clone(), "delete prime"),
        ("an earlier process', whose class retains", with_volume(true), lost.clone(), "reclaim"),
        ("somebody else's, whose class retains", with_volume(false), refused.clone(), "rest"),
        ("an earlier process', going", stray(true, going), lost, "rest"),
        ("somebody else's is not ours to delete", stray(false, |_| ()), refused, "rest"),
    ] {
        assert_eq!(words(&after_cleanup(&observed(world), ending, Cleanup::Done)), expected, "{case}");
    }
}

#[test]
fn a_claim_is_filled_where_its_consumer_will_be() {
    let immediately = |world: &mut World| {
        world.claim["metadata"]["annotations"]["pelotech.ot/bind-immediately"] = json!("true");
    };
    let stripped = |world: &mut World| {
        world.prime["metadata"]["annotations"] = json!({"pelotech.ot/selected-node": "node-1"});
    };
    let elsewhere = |world: &mut World| {
        world.claim["metadata"]["annotations"] = json!({"volume.kubernetes.io/selected-node": "node-2"});
    };
    check([
        ("anywhere", World::fresh(), "populate anywhere"),
        ("anywhere, bound", World::new(), "populate anywhere"),
        ("on its node", World::fresh().placed(), "populate node-1"),
        ("on its node, provisioning", World::provisioning().placed(), "populate node-1"),
        ("on its node, bound", World::new().placed(), "populate node-1"),
        ("anywhere, because its user said so", World::fresh().placed().with(immediately), "populate anywhere"),
        (
            "no node yet",
            World::fresh().placed().with(|world| world.claim["metadata"]["annotations"] = Value::Null),
            "clean up Unplaced",
        ),
        (
            "the node was cordoned",
            World::fresh().placed().with(|world| world.node = Node::Cordoned),
            "clean up Unplaced unpin node-1",
        ),
        (
            "the node is gone",
            World::provisioning().placed().with(|world| world.node = Node::Gone),
            "clean up Unplaced unpin node-1",
        ),
        ("the provisioner gave up", World::provisioning().placed().with(stripped), "clean up Unplaced unpin node-1"),
        ("the scheduler chose again", World::provisioning().placed().with(elsewhere), "clean up Unplaced"),
        ("the volume is there, so its node it is", World::new().placed().with(elsewhere), "populate node-1"),
        (
            "the volume is there, and the node is gone",
            World::new().placed().with(|world| world.node = Node::Gone),
            "populate node-1",
        ),
    ]);
}

#[test]
fn what_a_class_would_keep_is_marked_before_it_is_filled() {
    check([("retained", World::new().with(retained), "reclaim")]);
}

fn observed(world: World) -> Observed<ConfigMap> {
    world.observed()
}

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

type Case = (&'static str, Box<dyn FnOnce(&mut World)>, Vec<Value>, &'static str);

#[test]
fn a_volume_is_handed_over_only_as_it_was_judged() {
    let pod = |ours: bool, phase: &str, node: Option<&str>| {
        json!({"metadata": {"name": "pod", "namespace": "images", "uid": if ours { "w1" } else { "w2" }, "labels":
                   {"pelotech.ot/claim-uid": "c1", "pelotech.ot/claim-namespace": "labs"}},
               "spec": {"nodeName": node, "containers": []}, "status": {"phase": phase}})
    };
    let recorded = || {
        let claim = observed(World::new()).claim_ref;
        let (namespace, owner) = ("images".to_owned(), "record".to_owned());
        Recorded::Kept(vec![Made { claim, namespace, owner, prime: Some("p1".into()), worker: Some("w1".into()) }])
    };
    let container = |state: &str, restart: &str| {
        let mut pod = pod(true, "Running", Some("n"));
        pod["spec"]["restartPolicy"] = json!(restart);
        pod["spec"]["containers"] = json!([{"name": "worker"}]);
        let detail = if state == "terminated" { json!({"exitCode": 0}) } else { json!({}) };
        pod["status"]["containerStatuses"] = json!([{
            "name": "worker", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": {state: detail},
        }]);
        pod
    };
    let cases: Vec<Case> = vec![
        ("all is well", Box::new(|_| ()), vec![pod(true, "Succeeded", Some("n"))], "rebind"),
        ("the worker has just ended", Box::new(|_| ()), vec![container("terminated", "Never")], "rebind"),
        ("the worker will be started again", Box::new(|_| ()), vec![container("terminated", "OnFailure")], "rest 5s"),
        ("the worker runs, says its container", Box::new(|_| ()), vec![container("running", "Never")], "rest 5s"),
        ("the worker is gone", Box::new(|_| ()), vec![], "rebind"),
        ("the worker still runs", Box::new(|_| ()), vec![pod(true, "Running", Some("n"))], "rest 5s"),
        (
            "a stranger has it",
            Box::new(|_| ()),
            vec![pod(true, "Succeeded", Some("n")), pod(false, "Running", Some("n"))],
            "clean up Lost prime along VolumeInUse",
        ),
        (
            "a stranger had it",
            Box::new(|_| ()),
            vec![pod(false, "Succeeded", Some("n"))],
            "clean up Lost prime along VolumeInUse",
        ),
        ("a stranger wants it", Box::new(|_| ()), vec![pod(false, "Pending", None)], "rest VolumeInUse 5s"),
        ("the claim is gone", Box::new(|world| world.claim = Value::Null), vec![], "rest 5s"),
        ("the claim goes", Box::new(|world| going(&mut world.claim)), vec![], "rest 5s"),
        ("the claim lives again", Box::new(|world| world.claim["metadata"]["uid"] = json!("c2")), vec![], "rest 5s"),
        ("the claim is bound", Box::new(|world| world.claim["spec"]["volumeName"] = json!("x")), vec![], "rest 5s"),
        ("the volume is gone", Box::new(|world| world.volume = Value::Null), vec![], "rest 5s"),
        ("the volume goes", Box::new(|world| going(&mut world.volume)), vec![], "rest 5s"),
        ("the volume is another", Box::new(|world| world.volume["metadata"]["uid"] = json!("x")), vec![], "rest 5s"),
        (
            "the volume is somebody else's",
            Box::new(|world| world.volume["spec"]["claimRef"]["uid"] = json!("x")),
            vec![],
            "rest 5s",
        ),
        (
            "the claim wants other attributes now",
            Box::new(|world| world.claim["spec"]["volumeAttributesClassName"] = json!("gold")),
            vec![],
            "clean up Mismatch keep VolumeMismatch",
        ),
    ];
    for (case, change, pods, expected) in cases {
        let mut now = World::new();
        change(&mut now);
        let seen = Inspection {
            claim: from_value(now.claim).unwrap(),
            volume: from_value(now.volume).unwrap(),
            pods: pods.into_iter().map(|pod| from_value(pod).unwrap()).collect(),
        };
        let known = World::new().with(|world| world.recorded = recorded());
        assert_eq!(words(&hand_over(&observed(known), &seen)), expected, "{case}");
    }
}
