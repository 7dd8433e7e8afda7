//! Streams by `VMDKstream`, a writer that shares no code with QEMU: as VMware's own, they have a footer, and tables
//! behind the grains. Image factories made their uploads to vSphere with it.

use std::process::Command;

use crate::support::{assert_same, qemu::Images, sample_disk};

const MIB: usize = 1 << 20;

#[test]
fn converted_by_vmdkstream() {
    let images = Images::new();
    // Whole grains, a part of one at the end, and three tables.
    for (seed, size) in [(1, 6 * MIB), (2, 5 * MIB + 512), (3, 70 * MIB - 1024)] {
        let mut disk = sample_disk(size, seed);
        // A hole, in the largest disk of a whole table.
        let hole = disk.len() / 3..disk.len() / 30 * 29;
        disk[hole].fill(0);
        let raw = images.write("disk.raw", &disk);
        let image = images.path("disk.vmdk");
        let script = "import sys, VMDKstream; VMDKstream.convert_to_stream(*sys.argv[1:])";
        let output = Command::new("/usr/bin/python3")
            .args(["-c", script])
            .args([&raw, &image])
            .output()
            .unwrap_or_else(|error| panic!("python3: {error}; install python3-vmdkstream"));
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}; install python3-vmdkstream");
        assert_same(&images.reference("vmdk", &image), &disk, "what VMDKstream wrote, by QEMU");
        images.check_one_pass("vmdk", &image, &format!("{size} bytes by VMDKstream"));
    }
}
