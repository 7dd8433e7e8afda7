use std::os::unix::fs::FileExt;

use super::*;

fn resume(bytes: u64) -> Resume {
    Resume { url: "https://host/disk.raw".into(), identity: "\"etag\"".into(), size: 1 << 30, bytes }
}

/// A file of 64 KiB of garbage, in the place of a device. Not in /tmp: old kernels' tmpfs takes no direct I/O.
fn device() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new_in("/var/tmp").unwrap();
    file.as_file().write_all_at(&vec![0xa5; 64 << 10], 0).unwrap();
    file
}

const OFFSET: u64 = 32 << 10;

fn journal(device: &tempfile::NamedTempFile, uid: &str) -> Journal {
    Journal::on_device(device.path().to_owned(), OFFSET, 4096, uid.into())
}

#[test]
fn a_record_counts_only_for_its_claim() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("record");
    let device = device();
    let in_file = |uid: Option<&str>| Journal::in_file(path.clone(), uid.map(str::to_owned));
    let on_device = |uid: Option<&str>| journal(&device, uid.unwrap_or_default());
    for place in [&in_file as &dyn Fn(Option<&str>) -> Journal, &on_device] {
        assert_eq!(place(Some("a")).read(), None);
        place(Some("a")).write(&resume(7)).unwrap();
        assert_eq!(place(Some("a")).read(), Some(resume(7)));
        assert_eq!(place(Some("b")).read(), None);
        assert_eq!(place(None).read(), None);
        place(Some("a")).write(&resume(8)).unwrap();
        assert_eq!(place(Some("a")).read(), Some(resume(8)));
        place(Some("a")).remove().unwrap();
        assert_eq!(place(Some("a")).read(), None);
    }
}

#[test]
fn a_record_without_a_claim_is_for_work_by_hand() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("record");
    let by_hand = Journal::in_file(path.clone(), None);
    by_hand.write(&resume(7)).unwrap();
    assert_eq!(by_hand.read(), Some(resume(7)));
    assert_eq!(Journal::in_file(path, Some("a".into())).read(), None);
}

#[test]
fn only_a_whole_record_of_this_claim_is_touched_on_a_device() {
    let device = device();
    let content = || std::fs::read(device.path()).unwrap();
    let garbage = content();
    journal(&device, "a").remove().unwrap();
    assert!(content() == garbage);
    journal(&device, "a").write(&resume(7)).unwrap();
    let whole = content();
    journal(&device, "b").remove().unwrap();
    assert!(content() == whole);
    for at in [0, 31, 32, 100, 511, 512, 4095] {
        let byte = whole[usize::try_from(OFFSET).unwrap() + at];
        device.as_file().write_all_at(&[byte ^ 1], OFFSET + at as u64).unwrap();
        assert_eq!(journal(&device, "a").read(), None, "byte {at}");
        device.as_file().write_all_at(&[byte], OFFSET + at as u64).unwrap();
    }
    journal(&device, "a").remove().unwrap();
    let (before, after) = (&content()[..32 << 10], &content()[36 << 10..]);
    assert!(before.iter().chain(after).all(|byte| *byte == 0xa5), "nothing beside the record");
    assert!(content()[32 << 10..36 << 10].iter().all(|byte| *byte == 0));
}

#[test]
fn what_is_too_long_for_the_block_is_not_taken() {
    let device = device();
    let journal = journal(&device, "a");
    let mut resume = resume(7);
    assert!(journal.takes(&resume));
    resume.url = format!("https://host/{}", "x".repeat(4096));
    assert!(!journal.takes(&resume));
    let message = journal.write(&resume).unwrap_err().to_string();
    assert!(message.contains("failed to write the record of progress"), "{message}");
}
