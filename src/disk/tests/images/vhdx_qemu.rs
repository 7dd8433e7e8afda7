//! Every kind of vhdx that QEMU's tools write, against what they read back.

use crate::support::{
    qemu::{Images, text},
    sample_disk,
};

const MIB: u64 = 1 << 20;

#[test]
fn converted() {
    for images in Images::by_every_qemu() {
        for (seed, size) in [(1, 9 * MIB), (2, 4 * MIB + 512), (3, 33 * MIB - 1024)] {
            let mut disk = sample_disk(usize::try_from(size).expect("fits"), seed);
            // A hole of some blocks.
            let hole = disk.len() / 4..disk.len() / 5 * 4;
            disk[hole].fill(0);
            for options in [
                "subformat=dynamic,block_size=1M",
                "subformat=dynamic,block_size=2M,log_size=2M",
                "subformat=dynamic,block_size=32M",
                "subformat=dynamic",
                "subformat=fixed,block_size=1M,block_state_zero=off",
                "subformat=fixed,block_state_zero=on",
            ] {
                images.check_converted("vhdx", &disk, options);
            }
        }
    }
}

#[test]
fn written_at_random() {
    for images in Images::by_every_qemu() {
        for (seed, options) in [
            (1, "subformat=dynamic,block_size=1M"),
            (2, "subformat=dynamic,block_size=1M,block_state_zero=off"),
            (3, "subformat=dynamic,block_size=4M"),
            (4, "subformat=fixed"),
        ] {
            images.check_written_at_random("vhdx", seed, options);
        }
    }
}

/// A disk that is larger than the blocks of one chunk: the BAT has sector bitmap entries between the blocks'.
#[test]
fn more_than_a_chunk() {
    for images in Images::by_every_qemu() {
        let image = images.path("disk.vhdx");
        let options = "subformat=dynamic,block_size=1M";
        images.qemu_img(&["create", "-q", "-f", "vhdx", "-o", options, text(&image), "9G"]);
        let ends = [0, 4095, 4096, 4097, 8191, 8192, 9215];
        let writes: Vec<String> =
            ends.iter().map(|block| format!("write -P {} {block}M 4k\n", block % 200 + 1)).collect();
        images.qemu_io("vhdx", &image, &writes.concat());
        let image = std::fs::read(&image).expect("readable");
        let mut blocks = Blocks::default();
        let inspection = crate::support::inspect(&image).expect("valid");
        vmdisk_format::decode_at(&inspection, &vmdisk_format::Options::default(), &&image[..], &mut blocks)
            .expect("decoded");
        blocks.0.sort_unstable();
        let expected: Vec<(u64, u8)> =
            ends.iter().map(|&block| (block, u8::try_from(block % 200 + 1).expect("small"))).collect();
        assert_eq!(blocks.0, expected);
    }
}

/// The first byte of each delivery, by block.
#[derive(Default)]
struct Blocks(Vec<(u64, u8)>);

impl vmdisk_format::Sink for Blocks {
    fn write(&mut self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        assert_eq!((offset % MIB, data.len()), (0, 4096));
        self.0.push((offset / MIB, data[0]));
        Ok(())
    }
}
