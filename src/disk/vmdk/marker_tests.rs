use super::*;
use crate::VmdkSubformat;

fn header() -> VmdkHeader {
    VmdkHeader {
        subformat: VmdkSubformat::StreamOptimized,
        footer: true,
        capacity: (1 << 30) + 512,
        grain_size: 65536,
        zeroed_grains: false,
        overhead: 65536,
        descriptor: (512, 10240),
        directory: 0,
    }
}

#[test]
fn what_a_marker_stands_before() {
    let bad = Err(Reason::BadTable);
    for (value, size, kind, expected) in [
        (0, 0, 0, Ok(Item::EndOfStream)),
        (4, 0, 1, Ok(Item::GrainTable)),
        (1, 0, 2, Ok(Item::GrainDirectory)),
        (1, 0, 3, Ok(Item::Footer)),
        (1, 0, 0, bad),
        (5, 0, 1, bad),
        (u64::MAX, 0, 2, bad),
        (0, 0, 3, bad),
        (0, 0, 4, bad),
        (0, 100, 0, Ok(Item::Grain { offset: 0, size: 100 })),
        (256, 131_072, 9, Ok(Item::Grain { offset: 131_072, size: 131_072 })),
        (1 << 21, 1, 0, Ok(Item::Grain { offset: 1 << 30, size: 1 })),
        (256, 131_073, 0, bad),
        (256, u32::MAX, 0, bad),
        (1, 100, 0, bad),
        (64, 100, 0, bad),
        ((1 << 21) + 128, 1, 0, bad),
        (1 << 63, 1, 0, bad),
    ] {
        let marker = Marker { value, size, kind };
        let bytes = [&value.to_le_bytes()[..], &size.to_le_bytes(), &kind.to_le_bytes()].concat();
        assert_eq!(Marker::parse(&bytes), marker);
        assert_eq!(marker.item(&header(), 512).map_err(|refusal| refusal.reason), expected, "{marker:?}");
    }
}

#[test]
fn how_much_follows() {
    for (item, length) in [
        (Item::EndOfStream, 0),
        (Item::GrainTable, 2048),
        (Item::GrainDirectory, 512),
        (Item::Footer, 512),
        (Item::Grain { offset: 0, size: 1 }, 0),
        (Item::Grain { offset: 0, size: 500 }, 0),
        (Item::Grain { offset: 0, size: 501 }, 512),
        (Item::Grain { offset: 0, size: 65536 }, 65536),
    ] {
        assert_eq!(item.body(&header()), length, "{item:?}");
    }
}
