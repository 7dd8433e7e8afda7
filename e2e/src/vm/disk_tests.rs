use super::*;
use crate::vm::console::Greeting;

#[test]
fn the_partition_table_has_one_partition_to_the_end() {
    let boot = [0xeb; 512];
    let record = master_boot_record(&boot, 64 * MIB).expect("fits");
    assert_eq!(record[..440], boot[..440]);
    // The disk signature and what follows are not code.
    assert_eq!(record[440..446], [0; 6]);
    assert_eq!(record[446], 0x80);
    assert_eq!(record[450], 0x83);
    assert_eq!(record[454..458], 2048_u32.to_le_bytes());
    assert_eq!(record[458..462], (63 * 2048_u32).to_le_bytes());
    assert_eq!(record[462..510], [0; 48]);
    assert_eq!(record[510..], [0x55, 0xaa]);
}

#[test]
fn what_does_not_fit_a_master_boot_record_is_refused() {
    assert!(master_boot_record(&[0; 100], 64 * MIB).is_err());
    assert!(master_boot_record(&[0; 512], 4 << 40).is_err());
}

#[test]
fn a_nonce_is_one_word() {
    let dir = tempfile::tempdir().expect("a directory");
    for nonce in ["", "two words", "a=b", "line\n"] {
        let error = build(&dir.path().join("disk.qcow2"), nonce, 0).expect_err(nonce);
        assert!(error.to_string().contains("nonce"), "{error}");
    }
}

/// Without a cluster: what a pod does later, on this machine. It downloads packages, so only whoever asks runs it.
#[test]
#[ignore = "downloads a kernel and boots it: cargo test -p vmdisk-e2e -- --ignored boots_by_itself"]
fn boots_by_itself() {
    let dir = tempfile::tempdir().expect("a directory");
    let qcow2 = dir.path().join("disk.qcow2");
    let disk = build(&qcow2, "by-itself", 4 * MIB).expect("a disk");
    let raw = dir.path().join("disk.img");
    cmd("qemu-img").args(["convert", "-O", "raw"]).args([&qcow2, &raw]).run().expect("raw");
    // As the operator does when the claim is larger than the image.
    let grown = 2 * disk.virtual_size;
    cmd("qemu-img").args(["resize", "-q", "-f", "raw"]).arg(&raw).arg(grown.to_string()).run().expect("grown");
    let console = cmd("timeout")
        .args(["120", "qemu-system-x86_64"])
        .args(crate::vm::pod::machine(&raw.display().to_string()))
        .output()
        .expect("the machine runs and switches itself off");
    let greeting = console.lines().find_map(Greeting::parse).expect(&console);
    assert_eq!(greeting.nonce, disk.nonce);
    assert_eq!(greeting.payload_sha256, disk.payload_sha256);
    assert_eq!(greeting.disk_size, grown);
}
