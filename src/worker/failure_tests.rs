use std::io::Error;
use std::path::Path;

use super::*;

#[test]
fn a_full_target_says_where_to_make_room() {
    let path = Path::new("/target/disk.img.part");
    let full = Failure::target("write to", path, &Error::from_raw_os_error(28));
    assert_eq!(full.class(), ExitClass::TargetIo);
    assert!(full.message.starts_with("failed to write to /target/disk.img.part: No space left"), "{full}");
    assert!(full.message.ends_with("make room in the pool behind its StorageClass"), "{full}");
    let broken = Failure::target("write to", path, &Error::from_raw_os_error(5));
    assert!(broken.message.ends_with("(os error 5)"), "{broken}");
}

#[test]
fn an_end_that_was_ordered_is_called_so() {
    assert_eq!(Reason::Interrupted.to_string(), vmdisk_wire::INTERRUPTED);
}
