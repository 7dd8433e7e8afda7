use super::*;

#[test]
fn what_cannot_be_punched_is_read_back_and_overwritten_where_it_is_not_zero() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut content = vec![0; 3 * STEP];
    content[STEP + 5] = 1;
    content[2 * STEP + 9] = 2;
    std::fs::write(file.path(), &content).unwrap();
    let file_again = file.reopen().unwrap();
    let mut eraser = Eraser { file: &file_again, punches: false };
    eraser.zero(0..(2 * STEP + 4) as u64).unwrap();
    let found = std::fs::read(file.path()).unwrap();
    assert!(found[..2 * STEP + 4].iter().all(|byte| *byte == 0));
    assert_eq!(found[2 * STEP + 9], 2, "what lies behind the range stays");
}

#[test]
fn what_can_be_punched_is() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![7; 2 * STEP]).unwrap();
    let again = file.reopen().unwrap();
    Eraser::new(&again).zero(0..STEP as u64).unwrap();
    let found = std::fs::read(file.path()).unwrap();
    assert_eq!(found.len(), 2 * STEP, "the size stays");
    assert!(found[..STEP].iter().all(|byte| *byte == 0) && found[STEP..].iter().all(|byte| *byte == 7));
}
