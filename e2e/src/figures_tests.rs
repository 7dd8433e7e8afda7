use super::*;

#[test]
fn the_median_is_in_the_middle() {
    for (measured, expected) in
        [(&[][..], None), (&[3.0], Some(3.0)), (&[9.0, 1.0, 2.0], Some(2.0)), (&[4.0, 1.0, 2.0, 9.0], Some(3.0))]
    {
        assert_eq!(median(measured), expected, "{measured:?}");
    }
}

#[test]
fn a_target_is_met_up_to_itself() {
    for (measured, met) in [(2.4, true), (2.5, true), (2.51, false)] {
        assert_eq!(Figure::new("bound_s", "bound", measured, "s", Some(2.5), None).met, met, "{measured}");
    }
}

#[test]
fn what_missed_is_named_and_marked() {
    let figures = [
        Figure::new("bound_s", "claim bound", 1.125, "s", Some(2.5), Some(3.4)),
        Figure::new("writes", "writes", 11.0, "", Some(10.0), None),
        Figure::new("events", "events", 1.0, "", None, None),
    ];
    assert_eq!(missed(&figures), ["writes"]);
    assert_eq!(
        table(&figures, "reference"),
        "| figure | measured | target | reference |\n\
         |---|---|---|---|\n\
         | claim bound | 1.12 s | 2.50 s | 3.40 s |\n\
         | writes | 11 (missed) | 10 | – |\n\
         | events | 1 | – | – |\n"
    );
}

#[test]
fn machines_get_every_field() {
    let figure = Figure::new("bound_s", "claim bound", 1.5, "s", Some(2.5), Some(3.4));
    assert_eq!(
        serde_json::to_value(figure).expect("a figure is JSON"),
        serde_json::json!({
            "name": "bound_s", "what": "claim bound", "measured": 1.5, "unit": "s", "target": 2.5,
            "reference": 3.4, "met": true,
        })
    );
}
