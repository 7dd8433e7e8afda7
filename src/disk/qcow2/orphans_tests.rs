use super::*;

const CLUSTER: [u8; 4096] = [7; 4096];

fn kept(orphans: &Orphans) -> Vec<u64> {
    (0..100).filter(|&cluster| orphans.get(cluster).is_some()).collect()
}

#[test]
fn the_bound_counts_overhead_and_zeros_are_cheap() {
    let mut orphans = Orphans::new(10 * (CLUSTER.len() + OVERHEAD));
    for cluster in 0..10 {
        orphans.keep(cluster, &CLUSTER, false);
    }
    assert!(!orphans.is_over());
    orphans.keep(10, &[0; 4096], false);
    assert!(orphans.is_over(), "the overhead of one more");
    assert!(matches!(orphans.get(10), Some(Content::Zeros)));
    assert!(matches!(orphans.get(3), Some(Content::Data(data)) if data == CLUSTER));
    orphans.clear();
    assert!(!orphans.is_over() && kept(&orphans).is_empty());
}

#[test]
fn spent_clusters_make_room_in_the_order_they_were_spent() {
    let mut orphans = Orphans::new(10 * (CLUSTER.len() + OVERHEAD));
    for cluster in 0..10 {
        orphans.keep(cluster, &CLUSTER, false);
    }
    orphans.spend(4);
    orphans.spend(2);
    orphans.spend(2);
    orphans.keep(10, &CLUSTER, false);
    assert!(!orphans.is_over());
    assert_eq!(kept(&orphans), [0, 1, 2, 3, 5, 6, 7, 8, 9, 10]);
    orphans.keep(11, &CLUSTER, false);
    assert_eq!(kept(&orphans), [0, 1, 3, 5, 6, 7, 8, 9, 10, 11]);
    orphans.keep(12, &CLUSTER, false);
    assert!(orphans.is_over(), "none is left that may go");
}

#[test]
fn spent_clusters_take_a_quarter_at_most() {
    let mut orphans = Orphans::new(40 * (CLUSTER.len() + OVERHEAD));
    for cluster in 0..90 {
        orphans.keep(cluster, &CLUSTER, true);
        assert!(!orphans.is_over());
    }
    assert_eq!(kept(&orphans), (80..90).collect::<Vec<_>>());
}
