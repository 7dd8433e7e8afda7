use Part::{Data, Hole};

use super::*;

#[test]
fn a_map_is_followed() {
    let mut map = Map::new(100, vec![(0, 10), (20, 5), (25, 5), (60, 0)]).unwrap();
    assert_eq!((map.size(), map.data()), (100, 20));
    let mut parts = Vec::new();
    while let Some(part) = map.part() {
        let (Part::Hole(count) | Part::Data(count)) = part;
        parts.push(part);
        map.advance(count);
    }
    assert_eq!(parts, [Data(10), Hole(10), Data(5), Data(5), Hole(70)]);
    assert_eq!(Map::new(0, vec![]).unwrap().part(), None);
}

#[test]
fn maps_that_make_no_sense_are_refused() {
    for extents in [vec![(10, 5), (12, 5)], vec![(10, 5), (0, 5)], vec![(96, 5)], vec![(u64::MAX, 2)], vec![(101, 0)]] {
        assert!(Map::new(100, extents.clone()).unwrap_err().to_string().contains("the extent of"), "{extents:?}");
    }
}

#[test]
fn records_of_all_versions() {
    let read = |records: &[(&str, &str)]| {
        let mut all = Records::default();
        records.iter().try_for_each(|(key, value)| all.read(key, value)).map(|()| all)
    };
    let expected = Map::new(100, vec![(0, 10), (50, 5)]).unwrap();
    let old =
        [("size", "100"), ("numblocks", "2"), ("offset", "0"), ("numbytes", "10"), ("offset", "50"), ("numbytes", "5")];
    assert_eq!(read(&old).unwrap().map(vec![]).unwrap(), expected);
    assert_eq!(read(&[("size", "100"), ("map", "0,10,50,5")]).unwrap().map(vec![]).unwrap(), expected);
    let new = read(&[("major", "1"), ("minor", "0"), ("realsize", "100"), ("name", "d")]).unwrap();
    assert!(new.map_follows());
    assert_eq!(new.map(vec![(0, 10), (50, 5)]).unwrap(), expected);

    for (records, expected) in [
        (&[("numbytes", "10")][..], "follows no"),
        (&[("map", "0,10,50")], "not a list"),
        (&[("map", "")], "not a list"),
        (&[("size", "-1")], "GNU.sparse.size is not a number"),
        (&[("size", "9223372036854775808")], "not a number"),
        (&[("map", "0,1")], "no record gives"),
        (&[("major", "2"), ("size", "1")], "version 2"),
    ] {
        let message = read(records).and_then(|records| records.map(vec![])).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}, expected {expected}");
    }
}

#[test]
fn a_map_before_the_data_says_how_long_it_is() {
    let read = |text: &str| {
        let mut lines = text.lines().map(|line| line.as_bytes().to_vec());
        extents_before_data(|| lines.next().ok_or_else(|| bad("cut")))
    };
    assert_eq!(read("2\n0\n10\n50\n5").unwrap(), [(0, 10), (50, 5)]);
    assert!(read("2\n0\n10\n50").unwrap_err().to_string().contains("cut"));
    assert!(read("x").unwrap_err().to_string().contains("not a number"));
    assert!(read("1048577").unwrap_err().to_string().contains("more than 1048576 extents"));
}
