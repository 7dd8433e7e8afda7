use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn claim(uid: &str) -> ClaimRef {
    ClaimRef { namespace: "n".into(), name: uid.into(), uid: uid.into() }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn ask(permits: &mut Permits, uid: &str, now: i64) -> Permit {
    permits.request(uid, None, claim(uid), at(now));
    permits.offer_to(uid, at(now));
    permits.permit(uid)
}

fn woken(permits: &mut Permits, now: i64) -> Vec<String> {
    permits.offer(at(now)).into_iter().map(|offer| offer.claim.uid).collect()
}

#[test]
fn who_comes_first_is_first() {
    let mut permits = Permits::new(1);
    assert_eq!(ask(&mut permits, "a", 0), Permit::Fresh);
    assert_eq!(ask(&mut permits, "c", 1), Permit::Waiting(at(1)));
    assert_eq!(ask(&mut permits, "b", 2), Permit::Waiting(at(2)));
    assert_eq!(ask(&mut permits, "c", 3), Permit::Waiting(at(1)), "asking again keeps the place");
    permits.admitted("a");
    permits.started("a");
    assert_eq!(permits.permit("a"), Permit::Used);
    assert_eq!(woken(&mut permits, 4), [""; 0], "a runs");
    permits.settle("a", true);
    assert_eq!(woken(&mut permits, 5), [""; 0], "a still runs");
    permits.settle("a", false);
    assert_eq!(woken(&mut permits, 6), ["c"]);
    assert_eq!(permits.permit("c"), Permit::Fresh);
}

#[test]
fn a_recorded_place_counts_and_ties_go_by_uid() {
    let mut permits = Permits::new(0);
    permits.request("late", Some(at(9)), claim("late"), at(10));
    permits.request("b", Some(at(5)), claim("b"), at(11));
    permits.request("a", Some(at(5)), claim("a"), at(12));
    permits.set_limit(2);
    assert_eq!(woken(&mut permits, 13), ["a", "b"]);
}

#[test]
fn an_offer_that_nobody_takes_goes_to_the_next() {
    let mut permits = Permits::new(1);
    ask(&mut permits, "a", 0);
    ask(&mut permits, "b", 1);
    assert_eq!(permits.next_lapse(), Some(at(10)));
    permits.lapse(at(9));
    assert_eq!(woken(&mut permits, 9), [""; 0]);
    permits.lapse(at(10));
    assert_eq!(woken(&mut permits, 10), ["b"]);
    // It comes back by its record, and is first again.
    permits.request("a", Some(at(0)), claim("a"), at(11));
    ask(&mut permits, "c", 11);
    permits.lapse(at(20));
    assert_eq!(woken(&mut permits, 20), ["a"]);
}

#[test]
fn the_objects_do_not_judge_an_offer_but_free_what_was_admitted() {
    let mut permits = Permits::new(1);
    ask(&mut permits, "a", 0);
    permits.settle("a", false);
    assert_eq!(permits.permit("a"), Permit::Fresh, "its record says Queued until the admission is written");
    permits.admitted("a");
    permits.withdraw("a");
    assert_eq!(permits.permit("a"), Permit::Fresh, "its worker may be about to run");
    permits.settle("a", false);
    assert_eq!(permits.permit("a"), Permit::Unasked);
    assert_eq!(permits.in_use(), 0);
}

#[test]
fn a_lower_limit_drains() {
    let mut permits = Permits::new(3);
    for uid in ["a", "b", "c", "d"] {
        ask(&mut permits, uid, 0);
        permits.admitted(uid);
    }
    // d was admitted over the limit by a record that said so; nobody loses anything.
    permits.set_limit(1);
    ask(&mut permits, "e", 1);
    for (gone, in_use) in [("a", 3), ("b", 2), ("c", 1)] {
        permits.settle(gone, false);
        assert_eq!(woken(&mut permits, 2), [""; 0]);
        assert_eq!(permits.in_use(), in_use);
    }
    permits.settle("d", false);
    assert_eq!(woken(&mut permits, 3), ["e"]);
}

#[test]
fn an_admission_that_nobody_heard_of_is_fresh_and_a_found_one_is_not() {
    let mut permits = Permits::new(1);
    ask(&mut permits, "a", 0);
    permits.adopt("a");
    assert_eq!(permits.permit("a"), Permit::Fresh);
    permits.adopt("b");
    assert_eq!(permits.permit("b"), Permit::Used);
    assert_eq!(permits.in_use(), 2, "what the records say counts, over the limit too");
}

/// What can happen to the gate.
#[derive(Clone, Debug)]
enum Happening {
    Ask(usize),
    Admit(usize),
    Start(usize),
    End(usize),
    Withdraw(usize),
    Limit(usize),
    Pass(i64),
    Restart,
}

fn happening() -> impl Strategy<Value = Happening> {
    let sync = 0..8_usize;
    prop_oneof![
        4 => sync.clone().prop_map(Happening::Ask),
        4 => sync.clone().prop_map(Happening::Admit),
        2 => sync.clone().prop_map(Happening::Start),
        3 => sync.clone().prop_map(Happening::End),
        1 => sync.prop_map(Happening::Withdraw),
        1 => (0..5_usize).prop_map(Happening::Limit),
        3 => (1..15_i64).prop_map(Happening::Pass),
        1 => Just(Happening::Restart),
    ]
}

/// The cluster beside the gate: what the records say.
#[derive(Default)]
struct Records {
    syncing: BTreeSet<String>,
    /// Place in the queue of every sync that has joined and was not admitted.
    queued: BTreeMap<String, Timestamp>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn never_more_than_the_limit_always_in_order_and_the_same_after_a_restart(
        happenings in prop::collection::vec(happening(), 1..80)
    ) {
        let mut limit = 2;
        let mut now = 0;
        let mut permits = Permits::new(limit);
        let mut records = Records::default();
        let uid = |number: usize| format!("uid-{number}");
        for happening in happenings {
            match happening {
                Happening::Ask(sync) => {
                    let uid = uid(sync);
                    if !records.syncing.contains(&uid) {
                        let recorded = records.queued.get(&uid).copied();
                        permits.request(&uid, recorded, claim(&uid), at(now));
                        if let Permit::Waiting(place) = permits.permit(&uid) {
                            records.queued.insert(uid, place);
                        }
                    }
                }
                Happening::Admit(sync) => {
                    let uid = uid(sync);
                    if !records.syncing.contains(&uid) && permits.permit(&uid) == Permit::Fresh {
                        prop_assert!(
                            permits.holders().count() < permits.in_use(),
                            "an admission takes up an offer, it adds nothing"
                        );
                        records.queued.remove(&uid);
                        records.syncing.insert(uid.clone());
                        permits.admitted(&uid);
                    }
                }
                Happening::Start(sync) => permits.started(&uid(sync)),
                Happening::End(sync) => {
                    let uid = uid(sync);
                    if records.syncing.remove(&uid) {
                        permits.settle(&uid, false);
                    }
                }
                Happening::Withdraw(sync) => {
                    let uid = uid(sync);
                    permits.withdraw(&uid);
                    records.queued.remove(&uid);
                }
                Happening::Limit(new) => {
                    limit = new;
                    permits.set_limit(limit);
                }
                Happening::Pass(seconds) => now += seconds,
                Happening::Restart => {
                    let waiting = records.queued.iter().map(|(uid, place)| {
                        (Place { enqueued_at: *place, uid: uid.clone() }, claim(uid))
                    });
                    permits = Permits::restore(limit, records.syncing.clone(), waiting);
                }
            }
            permits.lapse(at(now));
            let before = permits.in_use();
            let queue: Vec<Place> = permits.queue.keys().cloned().collect();
            let offers: Vec<String> = permits.offer(at(now)).into_iter().map(|offer| offer.claim.uid).collect();

            let free = limit.saturating_sub(before);
            let expected: Vec<&String> = queue.iter().take(free).map(|place| &place.uid).collect();
            prop_assert_eq!(offers.iter().collect::<Vec<_>>(), expected, "the head of the queue, as many as are free");
            prop_assert!(permits.in_use() <= limit.max(before), "never more than the limit, but for what runs already");
            prop_assert!(permits.in_use() >= limit || permits.waiting() == 0, "nobody waits while a permit is free");
            let holders: BTreeSet<String> = permits.holders().map(str::to_owned).collect();
            prop_assert_eq!(&holders, &records.syncing, "permits are what the records say");
        }
    }
}
