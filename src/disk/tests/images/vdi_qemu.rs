//! Every kind of vdi that QEMU's tools write, against what they read back.

use crate::support::{
    Random,
    qemu::{Images, place, qemu_img, qemu_io, text},
    sample_disk,
};

const MIB: u64 = 1 << 20;

#[test]
fn converted() {
    let images = Images::new();
    for (seed, size) in [(1, 6 * MIB), (2, 5 * MIB + 512), (3, 512), (4, 9 * MIB - 1024)] {
        let mut disk = sample_disk(usize::try_from(size).expect("fits"), seed);
        // A hole of some blocks.
        let hole = disk.len() / 3..disk.len() / 3 * 2;
        disk[hole].fill(0);
        let raw = images.write("disk.raw", &disk);
        for options in ["static=off", "static=on"] {
            let image = images.convert(&raw, "disk.vdi", &["-O", "vdi", "-o", options]);
            images.check_one_pass("vdi", &image, &format!("{options}, {size} bytes"));
            let image = images.convert(&raw, "disk.vdi", &["-W", "-m", "16", "-O", "vdi", "-o", options]);
            images.check_one_pass("vdi", &image, &format!("{options}, {size} bytes, out of order"));
        }
    }
}

#[test]
fn written_at_random() {
    let images = Images::new();
    for (seed, options) in [(1, "static=off"), (2, "static=on"), (3, "static=off")] {
        let mut random = Random::new(seed);
        let size = 40 * MIB + 512 * seed;
        let image = images.path("disk.vdi");
        qemu_img(&["create", "-q", "-f", "vdi", "-o", options, text(&image), &size.to_string()]);
        images.check_one_pass("vdi", &image, &format!("{options}, empty"));
        for _ in 0..2 {
            let writes: Vec<String> = (0..15)
                .map(|_| format!("write -P {} {}\n", random.below(255) + 1, place(&mut random, size, 512)))
                .collect();
            qemu_io("vdi", &image, &writes.concat());
            images.check_one_pass("vdi", &image, options);
        }
    }
}
