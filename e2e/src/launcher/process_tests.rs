use super::*;

fn stat(name: &str, state: &str) -> String {
    let zeros = vec!["0"; 18].join(" ");
    format!("42 ({name}) {state} {zeros} 777 0 0")
}

#[test]
fn the_start_time_is_found_behind_any_program_name() {
    for name in ["etcd", "a b", "a) S 1", "(("] {
        assert_eq!(parse_started(&stat(name, "S")), Some(777), "{name}");
    }
}

#[test]
fn a_process_that_waits_to_be_reaped_is_not_alive() {
    assert_eq!(parse_started(&stat("etcd", "Z")), None);
}

#[test]
fn our_own_process_is_alive() {
    let pid = i32::try_from(std::process::id()).expect("fits");
    let record = Record { pid, started: started(pid).expect("alive"), key: String::new() };
    assert!(alive(&record));
    assert!(!alive(&Record { started: record.started + 1, ..record }));
}
