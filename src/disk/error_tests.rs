use super::*;

#[test]
fn message_names_field_found_expected_and_advice() {
    let refusal = Refusal::new(Reason::BackingFile, "qcow2", "backing_file_offset", quote(b"/etc/passwd"), 0);
    assert_eq!(
        refusal.to_string(),
        "qcow2 backing_file_offset: found \"/etc/passwd\", expected 0; the disk must lie in one file: flatten it with \
         `qemu-img convert -O qcow2 OLD NEW` and upload NEW"
    );
}

#[test]
fn quoted_text_is_escaped_and_short() {
    assert_eq!(quote(b"a\n\x1b[31m\"\xff"), r#""a\n\x1b[31m\"\xff""#);
    let long = quote(&[b'x'; 5000]);
    assert_eq!(long.chars().count(), 64 + 3);
    assert!(long.ends_with("x…\""), "{long}");
}
