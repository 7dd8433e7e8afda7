use super::*;

const STEP: usize = 1 << 20;

#[test]
fn what_cannot_be_punched_is_read_back_and_overwritten_where_it_is_not_zero() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut content = vec![0; 3 * STEP];
    content[STEP + 5] = 1;
    content[2 * STEP + 9000] = 2;
    std::fs::write(file.path(), &content).unwrap();
    let again = file.reopen().unwrap();
    let eraser = Eraser { granule: 4096, punches: AtomicBool::new(false) };
    eraser.zero(&again, 0..2 * super::STEP + 8192).unwrap();
    let found = std::fs::read(file.path()).unwrap();
    assert!(found[..2 * STEP + 8192].iter().all(|byte| *byte == 0));
    assert_eq!(found[2 * STEP + 9000], 2, "what lies behind the range stays");
}

#[test]
fn what_can_be_punched_is() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![7; 2 * STEP]).unwrap();
    let again = file.reopen().unwrap();
    Eraser::new(4096).zero(&again, 0..super::STEP).unwrap();
    let found = std::fs::read(file.path()).unwrap();
    assert_eq!(found.len(), 2 * STEP, "the size stays");
    assert!(found[..STEP].iter().all(|byte| *byte == 0) && found[STEP..].iter().all(|byte| *byte == 7));
}
