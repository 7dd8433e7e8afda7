use super::*;

const HYBRID: &str = "\
cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu 0 0
cgroup /sys/fs/cgroup/cpuacct cgroup rw,relatime,cpuacct 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0
";

const UNIFIED: &str = "\
/dev/vda / ext4 rw 0 0
cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0
";

fn roots(mounts: &str) -> Option<Vec<(String, bool)>> {
    let settings = settings(mounts)?;
    Some(settings.into_iter().map(|setting| (setting.root.display().to_string(), setting.unified)).collect())
}

#[test]
fn a_hybrid_machine_has_its_controllers_in_v1() {
    let both = [("/sys/fs/cgroup/cpu".to_owned(), false), ("/sys/fs/cgroup/memory".to_owned(), false)];
    assert_eq!(roots(HYBRID), Some(both.to_vec()));
}

#[test]
fn a_unified_machine_has_one_hierarchy() {
    assert_eq!(roots(UNIFIED), Some(vec![("/sys/fs/cgroup".to_owned(), true)]));
    let settings = settings(UNIFIED).expect("settings");
    assert_eq!(settings[0].files[0], ("cpu.max", "75000 100000".to_owned()));
}

#[test]
fn without_cgroups_there_are_no_limits() {
    assert_eq!(roots("/dev/vda / ext4 rw 0 0\n"), None);
}
