use super::*;

#[test]
fn a_failure_names_the_command_and_its_stderr() {
    let error = cmd("sh").args(["-c", "echo broken >&2; exit 3"]).run().expect_err("exits with 3");
    let text = format!("{error:#}");
    assert!(text.contains("sh -c"), "{text}");
    assert!(text.contains("exit status: 3"), "{text}");
    assert!(text.contains("broken"), "{text}");
}

#[test]
fn input_larger_than_a_pipe_goes_through() {
    let input = vec![b'x'; 1 << 20];
    let output = cmd("cat").stdin(input.clone()).output().expect("cat");
    assert_eq!(output.len(), input.len());
}

#[test]
fn a_tail_is_cut_at_a_character() {
    assert_eq!(tail("aé", 1), "");
    assert_eq!(tail("aé", 2), "é");
}
