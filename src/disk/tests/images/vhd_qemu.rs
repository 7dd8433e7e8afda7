//! Every kind of vhd that QEMU's tools write, against what they read back.

use crate::support::{qemu::Images, sample_disk};

const MIB: u64 = 1 << 20;

#[test]
fn converted() {
    for images in Images::by_every_qemu() {
        for (seed, size) in [(1, 9 * MIB), (2, 4 * MIB + 512), (3, 68 * 1024), (4, 13 * MIB - 1024)] {
            let mut disk = sample_disk(usize::try_from(size).expect("fits"), seed);
            // A hole of some blocks.
            let hole = disk.len() / 4..disk.len() / 5 * 4;
            disk[hole].fill(0);
            for subformat in ["dynamic", "fixed"] {
                for force_size in ["on", "off"] {
                    let options = format!("subformat={subformat},force_size={force_size}");
                    images.check_converted("vpc", &disk, &options);
                }
            }
        }
    }
}

#[test]
fn written_at_random() {
    for images in Images::by_every_qemu() {
        for (seed, options) in
            [(1, "subformat=dynamic,force_size=on"), (2, "subformat=dynamic"), (3, "subformat=fixed")]
        {
            images.check_written_at_random("vpc", seed, options);
        }
    }
}
