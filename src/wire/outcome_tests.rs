use super::*;

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
