use super::*;

#[test]
fn keys_depend_on_where_parts_end() {
    assert_ne!(key(&[b"ab", b"c"]), key(&[b"a", b"bc"]));
    assert_eq!(key(&[b"ab", b"c"]), key(&[b"ab", b"c"]));
}
