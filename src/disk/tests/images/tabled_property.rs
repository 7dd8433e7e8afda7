//! Random valid images of vdi, vhd, vhdx and vmdk by a writer of our own, in any order, by every route.

use proptest::prelude::*;
use vmdisk_format::{Error, Options};

use crate::support::{
    Route, assert_same, decode_random, decode_stream, decode_switching,
    qemu::Images,
    tabled::{Kind, Plan},
};

fn plan() -> impl Strategy<Value = Plan> {
    let kind = prop::sample::select(vec![Kind::Vdi, Kind::Vhd, Kind::Vhdx, Kind::VmdkSparse, Kind::VmdkStream]);
    kind.prop_flat_map(|kind| {
        let (most, gap) = match kind {
            Kind::Vdi | Kind::Vhdx => (5, 3_u64),
            Kind::Vhd => (40, 30),
            Kind::VmdkSparse | Kind::VmdkStream => (60, 600),
        };
        let gap = prop_oneof![4 => Just(0), 2 => 0..4_u64.min(gap), 1 => 0..gap];
        let order = prop_oneof![1 => Just(0_u64), 3 => any::<u64>()];
        (prop::collection::vec((gap, any::<u32>().prop_map(u64::from)), 0..most), 0_u64..16, order).prop_map(
            move |(mut blocks, short, order)| {
                // A disk of some MiB is enough.
                let mut left = 1500;
                blocks.retain(|(gap, _)| {
                    let fits = *gap < left;
                    left = if fits { left - gap - 1 } else { left };
                    fits
                });
                Plan { kind, blocks, short, order }
            },
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_route_gives_the_disk(
        plan in plan(),
        chunks in prop::collection::vec(1_usize..50_000, 1..8),
        switch in any::<prop::sample::Index>(),
        window in prop::sample::select(vec![0_usize, 3000, 100_000, 32 << 20]),
    ) {
        let (image, disk) = plan.write();
        let fail = |error: Error| TestCaseError::fail(error.to_string());
        assert_same(&decode_random(&image).map_err(fail)?, &disk, "random access");
        for options in [
            Options::default(),
            Options { orphan_window: window, ..Options::default() },
            Options { map_limit: window, ..Options::default() },
        ] {
            let (found, route) = decode_stream(&image, &chunks, &options).map_err(fail)?;
            assert_same(&found, &disk, &format!("stream, {route:?}"));
            prop_assert_ne!(route, Route::WholeImage, "each byte is needed once");
        }
        let found = decode_switching(&image, switch.index(image.len() + 1)).map_err(fail)?;
        assert_same(&found, &disk, "switched");
    }
}

/// The writer is right: QEMU reads the same disk, sectors apart that a vhd's bitmap calls never written.
#[test]
fn qemu_agrees() {
    let images = Images::new();
    for (kind, format) in [
        (Kind::Vdi, "vdi"),
        (Kind::Vhdx, "vhdx"),
        (Kind::VmdkSparse, "vmdk"),
        (Kind::VmdkStream, "vmdk"),
        (Kind::Vhd, "vpc"),
    ] {
        for order in [0, 1, 2] {
            let blocks = vec![(0, 1), (2, 2), (0, 3), (0, 4), (5, 6)];
            let (image, disk) = Plan { kind, blocks, short: 3, order }.write();
            let mut found = images.reference(format, &images.write("image", &image));
            if kind == Kind::Vhd {
                for (found, sector) in found.chunks_mut(512).zip(disk.chunks(512)) {
                    if sector.iter().all(|&byte| byte == 0) {
                        found.fill(0);
                    }
                }
            }
            assert_same(&found, &disk, &format!("{kind:?}, order {order}"));
        }
    }
}
