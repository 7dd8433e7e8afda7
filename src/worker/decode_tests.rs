use super::*;
use vmdisk_format::inspect_prefix;

#[test]
fn only_what_cannot_be_streamed_is_staged() {
    let inspection = |prefix: &[u8]| match inspect_prefix(prefix, Some(prefix.len() as u64)).unwrap() {
        Verdict::Decided(inspection) => inspection,
        other => panic!("{other:?}"),
    };
    let raw = inspection(&[0; 4096]);
    assert_eq!(strategy(&raw, false), Strategy::Stream);
    let image = |details| Inspection { details, ..raw.clone() };
    let vhd = |kind| image(Details::Vhd { kind });
    assert_eq!(strategy(&vhd(VhdType::Fixed), false), Strategy::Stream);
    assert_eq!(strategy(&vhd(VhdType::Dynamic), false), Strategy::StageAndConvert);
    assert_eq!(strategy(&image(Details::Vdi { block_size: 1 << 20 }), false), Strategy::StageAndConvert);
}
