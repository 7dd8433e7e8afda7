use super::*;
use crate::progress::Counters;
use crate::sink::Target;
use vmdisk_wire::TargetKind;

fn wish(directory: &Path) -> Wish {
    Wish {
        kind: TargetKind::Filesystem,
        path: directory.join("disk.img"),
        requested: None,
        overhead_per_mille: 0,
        owner: None,
        claim_uid: None,
    }
}

#[test]
fn nothing_is_visible_before_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let wish = wish(directory.path());
    let target = Target::prepare(&wish).unwrap();
    let mut writer = target.writer(0, Counters::default()).unwrap();
    writer.write(0, &[1; 4096]).unwrap();
    assert!(!wish.path.exists());
    target.finish(writer, 5000).unwrap();
    let disk = std::fs::read(&wish.path).unwrap();
    assert_eq!(disk.len(), 1 << 20);
    assert!(disk[..4096].iter().all(|byte| *byte == 1) && disk[4096..].iter().all(|byte| *byte == 0));
    assert!(!target.path().exists());
}

#[test]
fn a_disk_that_looks_like_another_format_stays_invisible() {
    let directory = tempfile::tempdir().unwrap();
    let wish = wish(directory.path());
    let target = Target::prepare(&wish).unwrap();
    let mut writer = target.writer(0, Counters::default()).unwrap();
    writer.write(0, b"QFI\xfb").unwrap();
    let failure = target.finish(writer, 5000).unwrap_err();
    assert_eq!(failure.reason, crate::failure::Reason::NestedImage);
    assert!(!wish.path.exists());
}

#[test]
fn what_is_unfinished_stays_only_with_a_record_and_a_reason() {
    let directory = tempfile::tempdir().unwrap();
    let wish = wish(directory.path());
    let part = directory.path().join("disk.img.part");
    let journal = journal(&wish);
    let resume = Resume { url: "https://h/x".into(), identity: "\"a\"".into(), size: 100, bytes: 10 };
    for (record, length, keep, stays, resumes) in [
        (false, 20, true, false, false),
        (true, 20, false, false, false),
        (true, 20, true, true, true),
        // A record that vouches for more than there is.
        (true, 5, true, true, false),
    ] {
        std::fs::write(&part, vec![1; length]).unwrap();
        if record {
            journal.write(&resume).unwrap();
        }
        assert_eq!(FileTarget::leave(&wish, keep), stays);
        assert_eq!(part.exists(), stays);
        let target = FileTarget::prepare(&wish).unwrap();
        assert_eq!(target.resume().is_some(), resumes);
        assert_eq!(part.exists(), resumes, "what cannot go on is removed before the room is measured");
        FileTarget::leave(&wish, false);
    }
}

#[test]
fn a_link_in_the_place_of_the_disk_is_never_followed() {
    let directory = tempfile::tempdir().unwrap();
    let wish = wish(directory.path());
    let victim = directory.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    std::os::unix::fs::symlink(&victim, directory.path().join("disk.img.part")).unwrap();
    let target = Target::prepare(&wish).unwrap();
    target.finish(target.writer(0, Counters::default()).unwrap(), 512).unwrap();
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    assert!(std::fs::symlink_metadata(&wish.path).unwrap().is_file());
}
