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
