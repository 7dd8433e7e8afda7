//! Every kind of vhd that QEMU's tools write, against what they read back.

use crate::support::{
    Random,
    qemu::{Images, place, qemu_img, qemu_io, text},
    sample_disk,
};

const MIB: u64 = 1 << 20;

#[test]
fn converted() {
    let images = Images::new();
    for (seed, size) in [(1, 9 * MIB), (2, 4 * MIB + 512), (3, 68 * 1024), (4, 13 * MIB - 1024)] {
        let mut disk = sample_disk(usize::try_from(size).expect("fits"), seed);
        // A hole of some blocks.
        let hole = disk.len() / 4..disk.len() / 5 * 4;
        disk[hole].fill(0);
        let raw = images.write("disk.raw", &disk);
        for subformat in ["dynamic", "fixed"] {
            for force_size in ["on", "off"] {
                let options = format!("subformat={subformat},force_size={force_size}");
                let image = images.convert(&raw, "disk.vhd", &["-O", "vpc", "-o", &options]);
                images.check_one_pass("vpc", &image, &format!("{options}, {size} bytes"));
                let image = images.convert(&raw, "disk.vhd", &["-W", "-m", "16", "-O", "vpc", "-o", &options]);
                images.check_one_pass("vpc", &image, &format!("{options}, {size} bytes, out of order"));
            }
        }
    }
}

#[test]
fn written_at_random() {
    let images = Images::new();
    for (seed, options) in [(1, "subformat=dynamic,force_size=on"), (2, "subformat=dynamic"), (3, "subformat=fixed")] {
        let mut random = Random::new(seed);
        let size = 40 * MIB + 512 * seed;
        let image = images.path("disk.vhd");
        qemu_img(&["create", "-q", "-f", "vpc", "-o", options, text(&image), &size.to_string()]);
        images.check_one_pass("vpc", &image, &format!("{options}, empty"));
        for _ in 0..2 {
            let writes: Vec<String> = (0..15)
                .map(|_| format!("write -P {} {}\n", random.below(255) + 1, place(&mut random, size, 512)))
                .collect();
            qemu_io("vpc", &image, &writes.concat());
            images.check_one_pass("vpc", &image, options);
        }
    }
}
