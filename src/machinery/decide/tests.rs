//! Every state a claim's world can be in, and the one step that follows.

mod answers;
mod hand_over;
mod world;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

use super::*;
use crate::observed::Node;
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
