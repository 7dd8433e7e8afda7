//! Every kind of vmdk in one file that QEMU's tools write, against what they read back.

use crate::support::{
    Random,
    qemu::{Images, place, text},
    sample_disk,
};

const MIB: u64 = 1 << 20;

const OPTIONS: [&str; 8] = [
    "subformat=monolithicSparse",
    "subformat=monolithicSparse,compat6=on",
    "subformat=monolithicSparse,zeroed_grain=on,adapter_type=lsilogic",
    "subformat=monolithicSparse,hwversion=17,adapter_type=buslogic,toolsversion=9",
    "subformat=streamOptimized",
    "subformat=streamOptimized,compat6=on",
    "subformat=streamOptimized,hwversion=17,adapter_type=lsilogic",
    "subformat=streamOptimized,adapter_type=legacyESX",
];

#[test]
fn converted() {
    for images in Images::by_every_qemu() {
        for (seed, size) in [(1, 6 * MIB), (2, 3 * MIB + 512), (3, 512), (4, 40 * MIB - 1024)] {
            let mut disk = sample_disk(usize::try_from(size).expect("fits"), seed);
            let hole = disk.len() / 4..disk.len() / 10 * 9;
            disk[hole].fill(0);
            let raw = images.write("disk.raw", &disk);
            for options in OPTIONS {
                let image = images.convert(&raw, "disk.vmdk", &["-O", "vmdk", "-o", options]);
                images.check_one_pass("vmdk", &image, &format!("{options}, {size} bytes"));
                let image = images.convert(&raw, "disk.vmdk", &["-W", "-m", "16", "-O", "vmdk", "-o", options]);
                images.check_one_pass("vmdk", &image, &format!("{options}, {size} bytes, out of order"));
            }
        }
    }
}

#[test]
fn written_at_random() {
    for images in Images::by_every_qemu() {
        for (seed, options) in [(1, OPTIONS[0]), (2, OPTIONS[2])] {
            let mut random = Random::new(seed);
            let size = 80 * MIB + 512 * seed;
            let image = images.path("disk.vmdk");
            images.qemu_img(&["create", "-q", "-f", "vmdk", "-o", options, text(&image), &size.to_string()]);
            images.check_one_pass("vmdk", &image, &format!("{options}, empty"));
            for _ in 0..2 {
                let writes: Vec<String> = (0..40)
                    .map(|_| match random.below(4) {
                        0 => format!("write -z {}\n", place(&mut random, size / 65536 * 65536, 65536)),
                        _ => format!("write -P {} {}\n", random.below(255) + 1, place(&mut random, size, 512)),
                    })
                    .collect();
                images.qemu_io("vmdk", &image, &writes.concat());
                images.check_one_pass("vmdk", &image, options);
            }
        }
    }
}

/// QEMU writes each grain of a stream once, in any order.
#[test]
fn grains_in_any_order() {
    for images in Images::by_every_qemu() {
        let mut random = Random::new(9);
        let image = images.path("disk.vmdk");
        let grains = 1000;
        let size = grains * 65536 + 512;
        images.qemu_img(&["create", "-q", "-f", "vmdk", "-o", OPTIONS[4], text(&image), &size.to_string()]);
        let mut order: Vec<u64> = (0..grains).filter(|_| random.below(4) == 0).collect();
        for index in (1..order.len()).rev() {
            order.swap(index, usize::try_from(random.below(index as u64 + 1)).expect("fits"));
        }
        let writes: Vec<String> =
            order.iter().map(|grain| format!("write -P {} {} 64k\n", grain % 255 + 1, grain * 65536)).collect();
        images.qemu_io("vmdk", &image, &writes.concat());
        images.check_one_pass("vmdk", &image, "grains in any order");
    }
}
