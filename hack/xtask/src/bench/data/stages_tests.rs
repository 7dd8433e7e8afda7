use super::*;

#[test]
fn fio_tells_its_times_behind_its_notes() {
    let printed = "note: something\n{\"jobs\": [{\"usr_cpu\": 2.0, \"sys_cpu\": 8.0, \"write\": {\"runtime\": 500}}]}";
    let (wall, cpu) = fio_times(printed).expect("times");
    assert!((wall - 0.5).abs() < 1e-9 && (cpu - 0.05).abs() < 1e-9);
    assert_eq!(fio_times("fio: no space left"), None);
    assert_eq!(fio_times("{\"jobs\": []}"), None);
}
