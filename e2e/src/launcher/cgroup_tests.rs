use super::*;

#[test]
fn hybrid_machines_are_used_by_their_v1_controllers() {
    let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                  cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\n\
                  cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n\
                  cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
    let (roots, unified) = hierarchies(mounts);
    assert_eq!(roots, [Path::new("/sys/fs/cgroup/pids"), Path::new("/sys/fs/cgroup/memory")]);
    assert!(!unified);
}

#[test]
fn unified_machines_have_one_hierarchy() {
    let (roots, unified) = hierarchies("cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n");
    assert_eq!(roots, [Path::new("/sys/fs/cgroup")]);
    assert!(unified);
}
