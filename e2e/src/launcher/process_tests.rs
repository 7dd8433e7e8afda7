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
    let record = Record { pid, started: started(pid).expect("alive"), component: None };
    assert!(alive(&record));
    assert!(!alive(&Record { started: record.started + 1, ..record }));
}

fn component() -> Component {
    Component::new("etcd", PathBuf::from("/tools/server"))
        .args(["--log-level=warn"])
        .env("NAMESPACE", "kube-system")
        .private(Path::new("/private"), &["/run/containerd"])
        .config("version = 3")
}

#[test]
fn a_record_has_all_that_a_component_is_started_again_with() {
    let text = serde_json::to_string(&Record { pid: 1, started: 2, component: Some(component()) }).expect("a record");
    let record: Record = serde_json::from_str(&text).expect("is read back");
    assert!(record.is_of(&component()));
    assert!(!record.is_of(&component().args(["--another"])), "an argument more is another component");
    assert!(!record.is_of(&component().config("version = 4")), "what it reads at its start is part of it");
}

#[test]
fn a_record_of_an_older_launcher_is_of_no_component() {
    let record: Record = serde_json::from_str(r#"{"pid": 1, "started": 2, "key": "sum"}"#).expect("a record");
    assert!(!record.is_of(&component()));
}
