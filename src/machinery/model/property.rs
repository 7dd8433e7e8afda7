//! The property, and that it can fail.

use proptest::{
    prelude::*,
    test_runner::{Config as ProptestConfig, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};

use crate::model::{
    api::Laxity,
    bugs::{BUGS, Tamper},
    harness::{Action, Harness, PROVISIONER, WATCHED},
    world::{FORGERIES, Move, WANTED},
};

/// What others do in a way that keeps things going.
fn progress() -> impl Strategy<Value = Move> {
    prop_oneof![
        6 => proptest::sample::select(WATCHED.to_vec()).prop_map(Move::Report),
        2 => Just(Move::Provision),
        3 => Just(Move::PvController),
        1 => Just(Move::Schedule),
        3 => Just(Move::Kubelet),
        1 => Just(Move::PvcProtection),
    ]
}

/// What users and bad luck do at any moment.
fn trouble() -> impl Strategy<Value = Move> {
    let claim = 0..WANTED.len();
    prop_oneof![
        3 => claim.clone().prop_map(Move::CreateClaim),
        2 => claim.clone().prop_map(Move::DeleteClaim),
        1 => claim.prop_map(Move::BindElsewhere),
        1 => Just(Move::DeletePrime),
        1 => Just(Move::DeleteWorker),
        1 => Just(Move::DeleteVolume),
        1 => Just(Move::FailWorker),
        2 => Just(Move::StripNode),
        1 => (0..2usize).prop_map(Move::Cordon),
        1 => Just(Move::Uncordon),
        1 => Just(Move::ToggleSource),
        1 => Just(Move::ToggleGrant),
        1 => Just(Move::ToggleQuota),
        1 => Just(Move::Shrink),
    ]
}

fn lagging() -> impl Strategy<Value = Option<&'static str>> {
    proptest::option::of(prop_oneof![proptest::sample::select(WATCHED.to_vec()), Just(PROVISIONER)])
}

/// A populator without records believes whoever may write to the source's namespace, so nobody forges there.
fn action(forged: bool) -> impl Strategy<Value = Action> {
    let meanwhile = proptest::collection::vec(prop_oneof![2 => progress(), 1 => trouble()], 0..4);
    let pass = (0..6usize, proptest::collection::vec(meanwhile, 0..6))
        .prop_map(|(claim, meanwhile)| Action::Pass { claim, meanwhile });
    prop_oneof![
        20 => progress().prop_map(Action::Move),
        20 => pass,
        5 => trouble().prop_map(Action::Move),
        // Between the passes only: what a stranger writes between the last look and the swap, nobody can see.
        1 => Just(Action::Move(Move::Intrude)),
        u32::from(forged) * 2 => proptest::sample::select(FORGERIES.to_vec()).prop_map(|forgery| Action::Move(Move::Forge(forgery))),
        1 => Just(Action::Restart),
        4 => lagging().prop_map(Action::Round),
    ]
}

/// Some rounds in which everything goes well, so that scripts start from every stage of a filling.
fn script(forged: bool) -> impl Strategy<Value = Vec<Action>> {
    let created = proptest::sample::subsequence((0..WANTED.len()).collect::<Vec<_>>(), 1..=WANTED.len());
    (created, 0..12usize, proptest::collection::vec(action(forged), 0..60)).prop_map(|(created, rounds, actions)| {
        let mut script: Vec<_> = created.into_iter().map(|claim| Action::Move(Move::CreateClaim(claim))).collect();
        script.extend((0..rounds).map(|_| Action::Round(None)));
        script.extend(actions);
        script
    })
}

async fn play(script: &[Action], laxity: Laxity, tamper: Option<Tamper>, keeps_records: bool) -> Result<(), String> {
    let mut harness = Harness::new(laxity, tamper, keeps_records);
    for action in script {
        harness.act(action).await?;
    }
    harness.settle().await?;
    harness.check_bound()?;
    harness.check_clean()?;
    harness.delete_claims();
    harness.settle().await?;
    harness.check_clean()
}

/// Plays random scripts, the same ones every time, until one fails.
fn search(
    cases: u32,
    shrink: u32,
    laxity: Laxity,
    tamper: Option<Tamper>,
    (forged, keeps_records): (bool, bool),
) -> Result<(), TestError<Vec<Action>>> {
    let config =
        ProptestConfig { cases, max_shrink_iters: shrink, failure_persistence: None, ..ProptestConfig::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    TestRunner::new_with_rng(config, rng).run(&script(forged), |script| {
        runtime.block_on(play(&script, laxity, tamper, keeps_records)).map_err(TestCaseError::fail)
    })
}

#[test]
fn converges_and_breaks_no_promise_whatever_happens() {
    converges(false);
}

#[test]
fn believes_nobody_but_its_records_whatever_happens() {
    converges(true);
}

fn converges(keeps_records: bool) {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400);
    match search(cases, 2_000, Laxity::default(), None, (keeps_records, keeps_records)) {
        Err(TestError::Fail(reason, script)) => {
            let script: Vec<_> = script.iter().map(|action| format!("{action:?}")).collect();
            panic!("{reason}\nafter\n  {}", script.join("\n  "));
        }
        result => result.unwrap(),
    }
}

#[test]
fn finds_each_seeded_bug() {
    let missed: Vec<_> = BUGS
        .iter()
        .filter(|bug| search(1_000, 0, bug.laxity, bug.tamper, (bug.forged, false)).is_ok())
        .map(|bug| bug.name)
        .collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}
