use super::*;

#[test]
fn ticks_are_found_behind_any_name() {
    let stat = "12 (a) 7 (b) S 1 12 12 0 -1 4194560 9 8 7 6 100 20 3 4 20 0 1 0 99 5 5";
    assert_eq!(ticks(stat), Some(127));
    assert_eq!(ticks("12 (a) S 1"), None);
}

#[test]
fn the_high_water_mark_is_in_kib() {
    assert_eq!(high_water_mark("Name:\tx\nVmHWM:\t   10240 kB\nVmRSS:\t  1 kB\n"), Some(10_240));
    assert_eq!(high_water_mark("Name:\tkthreadd\n"), None);
}

#[test]
fn memory_and_cpu_of_children_count() {
    // The child holds 64 MiB for long enough to be seen, and works for it.
    let script = "dd if=/dev/zero of=/dev/null bs=64M count=40 status=none; echo done";
    let (usage, printed) = run(Command::new("sh").args(["-c", script])).expect("run");
    assert_eq!(printed, "done\n");
    assert!(usage.peak_mib > 60.0, "{usage:?}");
    assert!(usage.cpu > 0.0 && usage.wall > 0.0, "{usage:?}");
}

#[test]
fn a_failure_says_what_was_printed() {
    let error = run(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).expect_err("failed");
    assert!(format!("{error:#}").contains("why"), "{error:#}");
}
