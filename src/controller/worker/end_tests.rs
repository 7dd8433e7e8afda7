use super::*;

fn report(class: ExitClass) -> Report {
    Report { class, reason: "R".into(), ..Report::default() }
}

#[test]
fn its_own_word_counts_where_code_and_report_agree() {
    use ExitClass as E;
    for (code, class, expected) in [
        (0, E::Done, Outcome::Exited(E::Done)),
        (10, E::Transient, Outcome::Exited(E::Transient)),
        (13, E::DoesNotFit, Outcome::Exited(E::DoesNotFit)),
        (15, E::Malformed, Outcome::Exited(E::Malformed)),
        (0, E::Malformed, Outcome::Unexplained),
        (15, E::Done, Outcome::Unexplained),
        (15, E::Transient, Outcome::Unexplained),
        (137, E::Done, Outcome::Killed),
        (137, E::Malformed, Outcome::Killed),
    ] {
        let said = report(class);
        let end = End { exit_code: Some(code), report: Some(&said), has_run: true, ..End::default() };
        assert_eq!(judge(&end), expected, "{code} {class:?}");
        let deleted = judge(&End { deleted: true, ..end });
        if matches!(expected, Outcome::Exited(class) if class != E::Transient) {
            assert_eq!(deleted, expected, "{code} {class:?}: said before it was stopped");
        } else {
            assert_eq!(deleted, Outcome::Interrupted, "{code} {class:?}");
        }
    }
    for class in ExitClass::ALL {
        let end = End { exit_code: Some(class.code().into()), has_run: true, ..End::default() };
        assert_eq!(judge(&end), Outcome::Unexplained, "{class:?}: a code alone is nobody's word");
    }
}

#[test]
fn every_end_of_a_pod_is_told_apart() {
    let stopped = Report { class: ExitClass::Transient, reason: INTERRUPTED.into(), ..Report::default() };
    let ran = || End { has_run: true, ..End::default() };
    let exit = |code, reason| End { exit_code: Some(code), container_reason: Some(reason), ..ran() };
    let pod = |reason| End { pod_reason: Some(reason), ..ran() };
    let never = |reason| End { pod_reason: Some(reason), ..End::default() };
    for (case, end, expected) in [
        ("containerd was restarted", exit(255, "Unknown"), Outcome::Interrupted),
        ("exit 255 alone, after a reboot", exit(255, "Error"), Outcome::Interrupted),
        ("the kubelet lost it", exit(137, "ContainerStatusUnknown"), Outcome::Interrupted),
        ("runc could not start it", End { has_run: false, ..exit(128, "StartError") }, Outcome::NotStarted),
        ("no room for its CPU", never("OutOfcpu"), Outcome::NotStarted),
        ("no room for its memory", never("OutOfmemory"), Outcome::NotStarted),
        ("no room for pods", never("OutOfpods"), Outcome::NotStarted),
        ("the node's labels changed", never("NodeAffinity"), Outcome::NotStarted),
        ("a device that is gone", never("UnexpectedAdmissionError"), Outcome::NotStarted),
        ("the node is shutting down, before it ran", never("NodeShutdown"), Outcome::NotStarted),
        ("evicted before it ran", never("Evicted"), Outcome::NotStarted),
        ("refused again after the kubelet's restart", pod("NodeAffinity"), Outcome::Interrupted),
        ("the node shut down", End { disrupted: true, ..pod("Terminated") }, Outcome::Interrupted),
        ("a critical pod came", End { disrupted: true, ..pod("Preempting") }, Outcome::Interrupted),
        ("the scheduler preempted it", End { disrupted: true, ..exit(143, "Error") }, Outcome::Interrupted),
        (
            "evicted for its own scratch, and it said that it was stopped",
            End { report: Some(&stopped), pod_reason: Some("Evicted"), ..exit(10, "Error") },
            Outcome::Killed,
        ),
        (
            "evicted for its own scratch, then deleted",
            End { deleted: true, pod_reason: Some("Evicted"), ..exit(137, "Error") },
            Outcome::Killed,
        ),
        (
            "evicted under pressure, and it said that it was stopped",
            End { report: Some(&stopped), disrupted: true, pod_reason: Some("Evicted"), ..exit(10, "Error") },
            Outcome::Interrupted,
        ),
        ("the taint manager", End { disrupted: true, ..exit(137, "Error") }, Outcome::Interrupted),
        ("collected from a node that is gone", End { disrupted: true, ..ran() }, Outcome::Interrupted),
        ("its node is unknown", pod("NodeLost"), Outcome::Interrupted),
        ("evicted under pressure", End { disrupted: true, ..pod("Evicted") }, Outcome::Interrupted),
        ("evicted for its own scratch", pod("Evicted"), Outcome::Killed),
        (
            "evicted for its own scratch, killed",
            End { exit_code: Some(137), container_reason: Some("Error"), ..pod("Evicted") },
            Outcome::Killed,
        ),
        ("deleted by hand", End { deleted: true, ..exit(143, "Error") }, Outcome::Interrupted),
        ("deleted by hand, and it said so", End { report: Some(&stopped), ..exit(10, "Error") }, Outcome::Interrupted),
        (
            "out of time, and it said that it was stopped",
            End { report: Some(&stopped), timed_out: true, pod_reason: Some("DeadlineExceeded"), ..exit(10, "Error") },
            Outcome::Exited(ExitClass::Transient),
        ),
        (
            "out of time, and killed",
            End { timed_out: true, pod_reason: Some("DeadlineExceeded"), ..exit(137, "Error") },
            Outcome::Exited(ExitClass::Transient),
        ),
        ("out of time before it ran", End { timed_out: true, ..never("DeadlineExceeded") }, Outcome::NotStarted),
        ("out of memory", exit(137, "OOMKilled"), Outcome::Killed),
        ("out of memory while it was evicted", End { disrupted: true, ..exit(137, "OOMKilled") }, Outcome::Killed),
        ("killed, nobody says why", exit(137, "Error"), Outcome::Killed),
        ("a panic", exit(101, "Error"), Outcome::Unexplained),
        ("a code outside the contract", exit(1, "Error"), Outcome::Unexplained),
        ("the pod failed, and nothing is known of its container", ran(), Outcome::Interrupted),
    ] {
        assert_eq!(judge(&end), expected, "{case}");
    }
}
