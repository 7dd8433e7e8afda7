use super::*;

fn problem(key: &str, effect: Effect) -> Problem {
    Problem::new(key, "found x; expected y".to_owned(), effect)
}

#[test]
fn the_worst_is_said_first_and_names_what_follows() {
    let (none, last, closes) =
        (problem("a", Effect::None), problem("b", Effect::KeepsLast), problem("c", Effect::Closes));
    for (problems, expected) in [
        (vec![], None),
        (vec![none.clone()], Some(("InvalidPolicy", "Some keys have no effect:", "a: found x; expected y"))),
        (vec![none.clone(), last.clone()], Some(("InvalidPolicy", "The last good value stays", "b: found x"))),
        (vec![none, last, closes], Some(("PolicyClosed", "Nothing new is admitted", "c: found x"))),
    ] {
        let Some((reason, head, first)) = expected else {
            assert_eq!(notice(&problems), None);
            continue;
        };
        let (told, text) = notice(&problems).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(told, reason);
        assert!(lines[0].starts_with(head) && lines[1].starts_with(first), "{text}");
        assert_eq!(lines.len(), problems.len() + 1, "{text}");
    }
}

#[test]
fn a_note_is_as_long_as_an_event_has_room_for_and_no_single_problem_fills_it() {
    let long = |key: &str| Problem::new(key, "ü".repeat(10_000), Effect::Closes);
    let (_, note) = notice(&[long("first"), long("second"), long("third")]).unwrap();
    assert!(note.len() <= 1024, "{} bytes", note.len());
    assert!(note.contains("first: ü") && note.contains("second: ü"), "{note}");
}
