use super::*;

#[test]
fn a_greeting_is_found_behind_anything() {
    let line = "[    1.2] VMDISK-DEMO 7f3a disk=1048576 payload=sha256:00ff";
    let expected = Greeting { nonce: "7f3a".to_owned(), disk_size: 1_048_576, payload_sha256: "00ff".to_owned() };
    assert_eq!(Greeting::parse(line), Some(expected));
}

#[test]
fn other_lines_are_no_greeting() {
    for line in [
        "",
        "GRUB: loading Linux from the disk",
        "VMDISK-DEMO FAILED: the disk cannot be written",
        "VMDISK-DEMO 7f3a disk=many payload=sha256:00",
        "VMDISK-DEMO 7f3a disk=1",
    ] {
        assert_eq!(Greeting::parse(line), None, "{line}");
    }
}

#[test]
fn a_terminals_sequences_are_no_text() {
    for (line, expected) in [
        ("\u{1b}[H\u{1b}[J\u{1b}[1;1HGRUB: loading\r", "GRUB: loading"),
        ("\u{1b}cSeaBIOS (version 1.16)", "SeaBIOS (version 1.16)"),
        ("plain", "plain"),
        ("cut \u{1b}[", "cut "),
    ] {
        assert_eq!(plain(line), expected);
    }
}
