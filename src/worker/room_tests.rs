use proptest::prelude::*;

use super::*;

const MI: u64 = 1 << 20;
const GI: u64 = 1 << 30;

#[test]
fn the_room_of_a_file_system_is_what_is_available_without_its_overhead() {
    for (available, requested, overhead, expected) in [
        (106 * MI, None, 60, 100 * MI),
        (106 * MI - 1, None, 60, 99 * MI),
        (106 * MI, Some(53 * MI), 60, 50 * MI),
        (53 * MI, Some(106 * MI), 60, 50 * MI),
        (100 * MI, None, 0, 100 * MI),
        (MI, Some(GI), 60, 0),
        (0, Some(GI), 60, 0),
        (u64::MAX, None, 60, u64::MAX / 1060 * 1000 / MI * MI),
    ] {
        let room = Room::on_filesystem(available, requested, overhead);
        // The largest case differs by what the division cuts off.
        assert!(room.bytes.abs_diff(expected) <= MI, "{available} {requested:?} {overhead}: {}", room.bytes);
        if available < GI {
            assert_eq!(room.bytes, expected, "{available} {requested:?} {overhead}");
        }
    }
}

#[test]
fn a_disk_is_whole_mebibytes_grown_to_the_claim_and_never_shrunk() {
    for (room, virtual_size, expected) in [
        (Room::on_filesystem(GI, None, 60), 1, MI),
        (Room::on_filesystem(GI, None, 60), MI + 1, 2 * MI),
        (Room::on_filesystem(GI, Some(106 * MI), 60), 5 * MI, 100 * MI),
        (Room::on_filesystem(GI, Some(MI), 60), 5 * MI, 5 * MI),
        (Room::on_device(GI), 513, 513),
    ] {
        assert_eq!(room.disk_size(virtual_size), expected, "{room:?} {virtual_size}");
    }
}

#[test]
fn refusals_name_both_sizes_and_the_least_claim() {
    for (room, virtual_size, expected) in [
        (
            Room::on_filesystem(106 * MI, Some(106 * MI), 60),
            101 * MI,
            "the disk has 101Mi, the volume offers 100Mi (106Mi available, 6.0 % kept for the file system); \
             request at least 108Mi",
        ),
        // A tenth of the claim is the file system's own, so a tenth more must be requested.
        (
            Room::on_filesystem(900 * MI, Some(1000 * MI), 0),
            901 * MI,
            "the disk has 901Mi, the volume offers 900Mi; request at least 1012Mi",
        ),
        (
            Room::on_device(10 * MI),
            10 * MI + 512,
            "the disk has 10486272 bytes, the device has 10Mi; request at least 11Mi",
        ),
    ] {
        let failure = room.check(virtual_size).unwrap_err();
        assert_eq!((failure.reason, failure.message.as_str()), (Reason::DoesNotFit, expected));
    }
    let failure = Room::on_device(MI).check_at_least(2 * MI).unwrap_err();
    assert!(failure.message.starts_with("the disk has at least 2Mi"), "{failure}");
}

proptest! {
    /// What the message advises is enough, and a mebibyte less is not, where the file system takes nothing.
    #[test]
    fn the_least_claim_fits_and_is_the_least(size in 1..(1_u64 << 44), overhead in 0..200_u32) {
        let small = Room::on_filesystem(0, Some(0), overhead);
        let least = small.least_claim(size);
        let offer = |claim: u64| Room::on_filesystem(claim, Some(claim), overhead).check(size).is_ok();
        prop_assert!(offer(least));
        prop_assert!(!offer(least - MI));
    }

    #[test]
    fn a_disk_that_passes_fits(size in any::<u64>(), available in any::<u64>(), requested in any::<u64>(), overhead in 0..1000_u32) {
        let room = Room::on_filesystem(available, Some(requested), overhead);
        prop_assert_eq!(room.bytes % MI, 0);
        if room.check(size).is_ok() {
            prop_assert!(room.disk_size(size) >= size);
            prop_assert!(room.disk_size(size) <= available.min(requested));
        }
    }
}
