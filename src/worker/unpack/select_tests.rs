use super::*;

fn entry(path: &str, kind: Kind) -> Entry {
    Entry { path: path.into(), kind, size: 1 }
}

/// The chosen path, or the message of the refusal.
fn choose(wanted: Option<&str>, container: Container, entries: &[(&str, Kind)]) -> Result<Option<String>, String> {
    let above = Hidden::default();
    let mut selector = Selector::new(wanted, container, &above).unwrap();
    let mut chosen = None;
    for (path, kind) in entries {
        if selector.judge(&entry(path, *kind)).map_err(|error| error.to_string())? == Verdict::Take {
            chosen = Some((*path).to_owned());
        }
    }
    Ok(chosen)
}

use Container::{Layer, Plain};
use Kind::{Directory, HardLink, Regular, Special, SymbolicLink};

#[test]
fn the_rules_of_container_disks() {
    for (wanted, container, entries, expected) in [
        (None, Layer, &[("disk/", Directory), ("disk/vm.img", Regular)][..], Some("disk/vm.img")),
        (None, Layer, &[("./disk/./vm.img", Regular)], Some("./disk/./vm.img")),
        (None, Layer, &[("/disk/vm.img", Regular)], Some("/disk/vm.img")),
        (None, Layer, &[("vm.img", Regular), ("diskette/vm.img", Regular), ("disk", Directory)], None),
        (None, Layer, &[("disk/sub/vm.img", Regular)], None),
        (None, Layer, &[("x/../disk/vm.img", Regular)], None),
        (None, Plain, &[("vm.img", Regular)], Some("vm.img")),
        (None, Plain, &[("a/b/", Directory), ("a/b/vm.img", Regular), ("link", SymbolicLink)], Some("a/b/vm.img")),
        (None, Plain, &[("._vm.img", Regular), ("vm.img", Regular)], Some("vm.img")),
        (Some("/opt/vm.img"), Layer, &[("disk/other.img", Regular), ("opt/vm.img", Regular)], Some("opt/vm.img")),
        (Some("opt/vm.img"), Plain, &[("./opt/vm.img", Regular), ("x", Regular)], Some("./opt/vm.img")),
    ] {
        assert_eq!(choose(wanted, container, entries).unwrap().as_deref(), expected, "{wanted:?} {entries:?}");
    }
}

#[test]
fn what_is_no_single_plain_file_is_refused() {
    for (wanted, container, entries, expected) in [
        (None, Layer, &[("disk/a", Regular), ("disk/b", Regular)][..], "name the one that is the disk in path"),
        (None, Plain, &[("a", Regular), ("b", Regular)], "name the one that is the disk in path"),
        (Some("a"), Plain, &[("a", Regular), ("./a", Regular)], "stands twice"),
        (None, Layer, &[("disk/a", SymbolicLink)], "is a symbolic link"),
        (None, Layer, &[("disk/a", HardLink)], "is a hard link"),
        (None, Layer, &[("disk/a", Special)], "is a device"),
        (Some("a"), Plain, &[("a", Directory)], "is a directory"),
        (None, Plain, &[("/a", Regular)], "the path /a leads out"),
        (None, Plain, &[("a/../../b", Regular)], "the path a/../../b leads out"),
        (None, Layer, &[("disk/\u{1b}[2J", HardLink)], "disk/\\u{1b}[2J is a hard link"),
    ] {
        let message = choose(wanted, container, entries).unwrap_err();
        assert!(message.contains(expected), "{message}");
    }
}

/// What a layer hides of the layers below.
fn hidden(wanted: Option<&str>, entries: &[(&str, Kind)]) -> Hidden {
    let above = Hidden::default();
    let mut selector = Selector::new(wanted, Layer, &above).unwrap();
    for (path, kind) in entries {
        selector.judge(&entry(path, *kind)).unwrap();
    }
    selector.end().0
}

#[test]
fn upper_layers_hide_what_lies_below() {
    for (wanted, upper, path, expected) in [
        (None, ("disk/.wh.a", Regular), "disk/a", true),
        (None, ("disk/.wh.a", Regular), "disk/b", false),
        (None, ("disk/.wh.a", Regular), "disk/ab", false),
        (None, (".wh.disk", Regular), "disk/a", true),
        (None, ("disk/.wh..wh..opq", Regular), "disk/a", true),
        (None, (".wh..wh..opq", Regular), "disk/a", true),
        (None, ("etc/.wh..wh..opq", Regular), "disk/a", false),
        (None, ("disk", SymbolicLink), "disk/a", true),
        (None, ("disk", Directory), "disk/a", false),
        (Some("opt/x/a"), ("opt/.wh.x", Regular), "opt/x/a", true),
        (Some("opt/x/a"), ("opt/x", Regular), "opt/x/a", true),
    ] {
        let hidden = hidden(wanted, &[upper]);
        assert_eq!(hidden.hides(path), expected, "{upper:?} {path}");
        let mut lower = Selector::new(wanted, Layer, &hidden).unwrap();
        let verdict = lower.judge(&entry(path, Regular)).unwrap();
        assert_eq!(verdict, if expected { Verdict::Skip } else { Verdict::Take }, "{upper:?} {path}");
    }
}

#[test]
fn a_whiteout_does_not_hide_what_its_own_layer_adds() {
    let above = Hidden::default();
    let mut selector = Selector::new(None, Layer, &above).unwrap();
    assert_eq!(selector.judge(&entry("disk/.wh..wh..opq", Regular)).unwrap(), Verdict::Skip);
    assert_eq!(selector.judge(&entry("disk/new.img", Regular)).unwrap(), Verdict::Take);
}

#[test]
fn whiteouts_far_from_the_disk_cost_nothing_and_near_it_not_without_bounds() {
    let names: Vec<String> = (0..=MAX_WHITEOUTS).map(|number| format!("usr/.wh.{number}")).collect();
    let entries: Vec<(&str, Kind)> = names.iter().map(|name| (name.as_str(), Regular)).collect();
    assert_eq!(hidden(None, &entries), Hidden::default());
    let above = Hidden::default();
    let mut selector = Selector::new(None, Layer, &above).unwrap();
    let near = (0..=MAX_WHITEOUTS).map(|number| entry(&format!("disk/.wh.{number}"), Regular));
    let mut results = near.map(|entry| selector.judge(&entry));
    assert!(results.any(|result| result.is_err()));
}

#[test]
fn a_path_that_no_file_can_have_is_a_mistake_in_the_job() {
    for path in ["", ".", "/", "//./", "..", "../vm.img", "disk/../vm.img"] {
        let failure = check_path(path).unwrap_err();
        assert_eq!(failure.reason, Reason::BadJob, "{path}");
        assert!(failure.message.starts_with(&format!("path is {path:?}, which names no file")), "{failure}");
    }
    for path in ["vm.img", "/disk/vm.img", "./disk//vm.img", "..img"] {
        check_path(path).unwrap();
    }
}
