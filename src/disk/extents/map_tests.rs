use proptest::prelude::*;

use super::*;

fn extent(image: u64, disk: u64, length: u64) -> Extent {
    Extent { image, disk, length }
}

fn all(mut map: Map) -> Vec<Extent> {
    std::iter::from_fn(|| map.pop()).collect()
}

#[test]
fn neighbours_become_one_where_that_is_right() {
    let pushed = [extent(900, 0, 10), extent(910, 10, 10), extent(100, 20, 10), extent(110, 40, 10), extent(7, 7, 0)];
    let mut map = Map::new(true);
    for &extent in &pushed {
        map.push(extent);
    }
    assert_eq!(map.first(), Some(extent(100, 20, 10)));
    assert_eq!(all(map), [extent(100, 20, 10), extent(110, 40, 10), extent(900, 0, 20)]);

    let mut map = Map::new(false);
    for &extent in &pushed {
        map.push(extent);
    }
    assert_eq!(all(map), [pushed[2], pushed[3], pushed[0], pushed[1]]);
}

/// Places in units that are whole sectors or not.
fn extents(unit: u64) -> impl Strategy<Value = Vec<Extent>> {
    let step = prop_oneof![5 => Just((1, 128)), 1 => (0..400_u64, 0..1_u64 << 24), 1 => Just((254, 128)), 1 => Just((255, 128))];
    let steps = prop::collection::vec((step, prop::option::weighted(0.1, 1..200_u64), 0..20_u8), 0..60);
    steps.prop_map(move |steps| {
        let mut last = Extent { image: 9, disk: 0, length: 128 };
        let mut all = Vec::new();
        for ((image, disk), length, back) in steps {
            let length = length.unwrap_or(128);
            last = Extent { image: last.image + image, disk: last.disk + disk, length };
            if back == 0 {
                last = Extent { image: last.image / 2, disk: last.disk / 3, length };
            }
            all.push(extent(last.image * unit, last.disk * unit, last.length * unit));
        }
        all
    })
}

proptest! {
    #[test]
    fn whatever_comes_is_taken_in_the_order_of_the_image(
        pushed in prop_oneof![extents(512), extents(1), extents(1 << 20)],
        taken in 0..30_usize,
    ) {
        let mut map = Map::new(false);
        let (some, rest) = pushed.split_at(pushed.len() / 2);
        for extent in some {
            map.push(*extent);
        }
        let mut expected = some.to_vec();
        expected.sort_unstable();
        let early: Vec<_> = std::iter::from_fn(|| map.pop()).take(taken).collect();
        prop_assert_eq!(&early[..], &expected[..taken.min(some.len())]);
        expected.drain(..early.len());
        for extent in rest {
            map.push(*extent);
        }
        expected.extend(rest);
        expected.sort_unstable();
        prop_assert_eq!(map.first(), expected.first().copied());
        prop_assert_eq!(all(map), expected);
    }
}

#[test]
fn grains_in_order_take_a_byte_each_and_with_gaps_a_few() {
    const GRAIN: u64 = 64 << 10;
    for (gap, bytes) in [(1, 1), (3, 5)] {
        let mut map = Map::new(false);
        let count = 1 << 20;
        for index in 0..count {
            map.push(extent((128 + index * 100) * 512, index * gap * GRAIN, GRAIN));
        }
        let full = map.bytes();
        // A buffer that grows doubles.
        assert!(full <= (2 * bytes) << 20, "{full}");
        assert_eq!(all(map).len() as u64, count);
    }
}

#[test]
fn memory_is_given_back() {
    let mut map = Map::new(true);
    for index in 0..100_000 {
        map.push(extent(index * 3, index * 5, 1));
    }
    assert!(map.bytes() >= 99_999 * size_of::<Extent>());
    while map.pop().is_some() {}
    assert_eq!(map.bytes(), 0);
}
