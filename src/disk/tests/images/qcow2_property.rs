//! Random valid qcow2 images by an independent writer, decoded by every route.

use crate::support::{
    assert_same, decode_random, decode_stream, decode_switching,
    writer::{Cluster, Plan},
};
use proptest::prelude::*;
use vmdisk_format::{Error, Options};

/// Version, cluster bits and whether L2 entries are extended.
fn shape() -> impl Strategy<Value = (u32, u32, bool)> {
    prop_oneof![
        4 => Just((3, 9, false)),
        2 => Just((2, 9, false)),
        2 => Just((3, 10, false)),
        2 => Just((3, 12, false)),
        1 => Just((2, 12, false)),
        2 => Just((3, 14, true)),
        1 => Just((3, 16, false)),
    ]
}

fn cluster(version: u32, extended: bool) -> BoxedStrategy<Cluster> {
    let plain = prop_oneof![
        4 => any::<u32>().prop_map(|seed| Cluster::Data { seed: u64::from(seed) }),
        3 => any::<u32>().prop_map(|seed| Cluster::Compressed { seed: u64::from(seed) }),
        1 => Just(Cluster::Zeros),
        1 => Just(Cluster::Shared),
    ];
    let zero = any::<bool>().prop_map(|allocated| Cluster::Zero { allocated });
    let parts = (any::<u32>(), any::<u32>(), any::<u32>()).prop_map(|(allocated, zero, seed)| Cluster::Parts {
        allocated,
        zero,
        seed: u64::from(seed),
    });
    match (version, extended) {
        (2, _) => plain.boxed(),
        (_, false) => prop_oneof![6 => plain, 1 => zero].boxed(),
        (_, true) => prop_oneof![4 => plain, 1 => zero, 3 => parts].boxed(),
    }
}

fn plan() -> impl Strategy<Value = Plan> {
    shape().prop_flat_map(|(version, cluster_bits, extended)| {
        let most = if cluster_bits < 12 { 150 } else { 40 };
        let gap =
            prop_oneof![5 => Just(0_u64), 2 => 1_u64..5, 1 => 50_u64..(8_u64 << (20 - cluster_bits) >> 6).max(51)];
        (
            prop::collection::vec((gap, cluster(version, extended)), 0..most),
            prop_oneof![Just(0_i64), -2000_i64..100_000],
            0_usize..6,
            prop_oneof![Just(0_u64), any::<u64>()],
            any::<bool>(),
        )
            .prop_map(move |(clusters, tail, leaked, order, zstd)| Plan {
                version,
                cluster_bits,
                extended,
                zstd: zstd && version == 3,
                clusters,
                tail,
                leaked,
                order,
            })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn every_route_gives_the_disk(
        plan in plan(),
        chunks in prop::collection::vec(1_usize..20_000, 1..8),
        switch in any::<prop::sample::Index>(),
        window in prop::sample::select(vec![0_usize, 3000, 40_000, 32 << 20]),
    ) {
        let (image, disk) = plan.write();
        let found = decode_random(&image).map_err(|error| TestCaseError::fail(error.to_string()))?;
        assert_same(&found, &disk, "random access");
        for options in [
            Options { orphan_window: window, ..Options::default() },
            Options { map_limit: window, ..Options::default() },
        ] {
            let (found, route) = decode_stream(&image, &chunks, &options)
                .map_err(|error| TestCaseError::fail(error.to_string()))?;
            assert_same(&found, &disk, &format!("stream, {route:?}"));
        }
        let position = switch.index(image.len() + 1);
        match decode_switching(&image, position) {
            Ok(found) => assert_same(&found, &disk, "switched"),
            // A shared cluster, dropped after its first use.
            Err(Error::NeedsWholeImage { .. }) => {}
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        }
    }
}
