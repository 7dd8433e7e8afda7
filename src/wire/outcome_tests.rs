use super::*;
use crate::SCHEMA_VERSION;

#[test]
fn codes_are_the_contract() {
    let codes: Vec<u8> = ExitClass::ALL.into_iter().map(ExitClass::code).collect();
    assert_eq!(codes, [0, 10, 11, 12, 13, 14, 15, 16, 17]);
    for class in ExitClass::ALL {
        assert_eq!(ExitClass::from_code(class.code().into()), Some(class));
    }
    for foreign in [-1, 1, 2, 9, 18, 101, 137, 256] {
        assert_eq!(ExitClass::from_code(foreign), None, "{foreign}");
    }
}

fn report(class: ExitClass) -> Report {
    Report { schema_version: SCHEMA_VERSION, class, ..Report::default() }
}

#[test]
fn every_end_has_one_judgement() {
    use ExitClass::{DoesNotFit, Done, SourceMissing, Transient};
    use Outcome::{Exited, Interrupted, Unexplained};

    let done = report(Done);
    let missing = report(SourceMissing);
    let unfinished = Report { reason: UNFINISHED.into(), ..report(Transient) };
    let stopped = Report { reason: INTERRUPTED.into(), ..report(Transient) };
    for (code, report, container, pod, expected, why) in [
        (Some(0), Some(&done), None, None, Exited(Done), "success with its report"),
        (Some(0), None, None, None, Unexplained, "success without a report proves nothing"),
        (Some(0), Some(&missing), None, None, Unexplained, "code and report disagree"),
        (Some(11), Some(&missing), None, None, Exited(SourceMissing), "a class with its report"),
        (Some(13), None, Some("Error"), None, Exited(DoesNotFit), "the code alone is enough for a failure"),
        (
            Some(13),
            None,
            None,
            Some("Evicted"),
            Exited(DoesNotFit),
            "its own word before the eviction that came too late",
        ),
        (Some(10), Some(&stopped), Some("Error"), None, Interrupted, "it was told to stop, nobody says by whom"),
        (Some(0), Some(&unfinished), None, None, Unexplained, "success without its last word"),
        (Some(137), Some(&unfinished), Some("Error"), None, Exited(Transient), "killed at work"),
        (Some(101), Some(&unfinished), Some("Error"), None, Unexplained, "a panic at work"),
        (Some(137), None, Some("OOMKilled"), None, Exited(Transient), "out of memory"),
        (Some(137), None, Some("Error"), None, Exited(Transient), "an unexplained SIGKILL"),
        (Some(143), None, Some("Error"), Some("Preempting"), Interrupted, "SIGTERM with a reason"),
        (None, None, None, Some("NodeLost"), Interrupted, "no status at all, the node is gone"),
        (Some(101), None, Some("Error"), None, Unexplained, "a panic"),
        (Some(1), None, Some("Error"), None, Unexplained, "a code outside the contract"),
        (None, None, None, None, Unexplained, "nothing is known"),
    ] {
        assert_eq!(classify(code, report, container, pod), expected, "{why}");
    }
}
