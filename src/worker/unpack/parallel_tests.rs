use super::*;

#[test]
fn results_come_in_order_whoever_is_first() {
    let mut ordered = Ordered::new(|number: u64| {
        if number.is_multiple_of(3) {
            std::thread::yield_now();
        }
        number * 2
    });
    let mut results = Vec::new();
    for number in 0..500 {
        while !ordered.has_room(1) {
            results.extend(ordered.take().unwrap());
        }
        ordered.give(number, 1);
    }
    while let Some(result) = ordered.take().unwrap() {
        results.push(result);
    }
    assert_eq!(results, (0..500).map(|number| number * 2).collect::<Vec<_>>());
}

#[test]
fn what_is_under_way_is_bounded() {
    let mut ordered = Ordered::new(|()| ());
    assert!(ordered.has_room(usize::MAX), "one is always taken");
    ordered.give((), MAX_WEIGHT - 1);
    assert!(ordered.has_room(1) && !ordered.has_room(2));
    ordered.take().unwrap();
    let mut given = 0;
    while ordered.has_room(1) {
        ordered.give((), 1);
        given += 1;
    }
    assert!(given <= MAX_THREADS + 1, "{given}");
}

#[test]
fn a_thread_that_panics_is_an_error() {
    let mut ordered = Ordered::new(|()| panic!("as tests do"));
    ordered.give((), 1);
    assert!(ordered.take().is_err());
}
