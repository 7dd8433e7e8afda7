//! Every kind of vdi that QEMU's tools write, against what they read back.

use crate::support::{qemu::Images, sample_disk};

const MIB: u64 = 1 << 20;

#[test]
fn converted() {
    for images in Images::by_every_qemu() {
        for (seed, size) in [(1, 6 * MIB), (2, 5 * MIB + 512), (3, 512), (4, 9 * MIB - 1024)] {
            let mut disk = sample_disk(usize::try_from(size).expect("fits"), seed);
            // A hole of some blocks.
            let hole = disk.len() / 3..disk.len() / 3 * 2;
            disk[hole].fill(0);
            for options in ["static=off", "static=on"] {
                images.check_converted("vdi", &disk, options);
            }
        }
    }
}

#[test]
fn written_at_random() {
    for images in Images::by_every_qemu() {
        for (seed, options) in [(1, "static=off"), (2, "static=on"), (3, "static=off")] {
            images.check_written_at_random("vdi", seed, options);
        }
    }
}
