use super::*;

const PLAIN: &str = "# Disk DescriptorFile\nversion=1\nCID=3ec499\nparentCID=ffffffff\n\
    createType=\"monolithicSparse\"\n\n# Extent description\nRW 6144 SPARSE \"disk.vmdk\"\n\n\
    # The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"4\"\nddb.adapterType = \"ide\"\n";

fn padded(text: &str, residue: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes.extend(residue.as_bytes());
    bytes.resize(20 * 512, 0);
    bytes
}

#[test]
fn a_plain_descriptor() {
    let expected = Descriptor { subformat: VmdkSubformat::MonolithicSparse, sectors: 6144 };
    for text in [
        PLAIN.to_owned(),
        PLAIN.replace('\n', "\r\n"),
        PLAIN.replace("RW", "rdonly"),
        PLAIN.replace("createType=\"m", "CREATETYPE = \"M"),
        PLAIN.replace("version", "encoding=\"UTF-8\"\nversion"),
    ] {
        assert_eq!(Descriptor::parse(&padded(&text, "")), Ok(expected.clone()), "{text}");
    }
    let stream = PLAIN.replace("monolithicSparse", "streamOptimized");
    let found = Descriptor::parse(&padded(&stream, "")).map(|descriptor| descriptor.subformat);
    assert_eq!(found, Ok(VmdkSubformat::StreamOptimized));
    assert_eq!(Descriptor::parse(&padded(PLAIN, "\"ide\"\n")), Ok(expected), "QEMU's residue");
}

#[test]
fn what_a_descriptor_may_not_say() {
    let extent = "RW 6144 SPARSE \"disk.vmdk\"";
    let with = |line: &str| PLAIN.replace(extent, line);
    let and = |line: &str| format!("{PLAIN}{line}\n");
    for (text, reason) in [
        (with("RW 6144 SPARSE \"/etc/passwd\""), Reason::ExternalExtent),
        (with("RW 6144 SPARSE \"..\\secret\""), Reason::ExternalExtent),
        (with("RW 6144 SPARSE \"nbd:localhost:1\""), Reason::ExternalExtent),
        (with("RW 6144 SPARSE \"..\""), Reason::ExternalExtent),
        (with("RW 6144 SPARSE disk.vmdk"), Reason::ExternalExtent),
        (with("RW 6144 FLAT \"disk-flat.vmdk\" 0"), Reason::ExternalExtent),
        (with("RW 6144 ZERO"), Reason::ExternalExtent),
        (with("RW many SPARSE \"disk.vmdk\""), Reason::ExternalExtent),
        (with("NOACCESS 6144 SPARSE \"disk.vmdk\""), Reason::ExternalExtent),
        (with(&format!("{extent}\n{extent}")), Reason::ExternalExtent),
        (with(""), Reason::BadHeader),
        (PLAIN.replace("createType", "#createType"), Reason::BadHeader),
        (PLAIN.replace("createType=\"monolithicSparse\"", ""), Reason::BadHeader),
        (and("createType=\"streamOptimized\""), Reason::BadHeader),
        (and("version=2"), Reason::BadHeader),
        (and("ddb.comment = \"parentCID=1\""), Reason::BadHeader),
        (PLAIN.replace("monolithicSparse", "monolithicFlat"), Reason::ExternalExtent),
        (PLAIN.replace("monolithicSparse", "twoGbMaxExtentSparse"), Reason::ExternalExtent),
        (PLAIN.replace("monolithicSparse", "vmfsSparse"), Reason::UnsupportedFormat),
        (PLAIN.replace("ffffffff", "12345678"), Reason::BackingFile),
        (and("parentFileNameHint=\"base.vmdk\""), Reason::BackingFile),
        (and("changeTrackPath=\"disk-ctk.vmdk\""), Reason::ExternalExtent),
        (and("surprise"), Reason::UnsupportedFeature),
        (and("surprise=1"), Reason::UnsupportedFeature),
        (and("\x07"), Reason::BadHeader),
    ] {
        let refusal = Descriptor::parse(&padded(&text, "")).expect_err(&text);
        assert_eq!(refusal.reason, reason, "{refusal}\n{text}");
    }
    let hidden = padded(PLAIN, "RW 1 FLAT \"/etc/passwd\" 0");
    assert_eq!(Descriptor::parse(&hidden).map_err(|refusal| refusal.reason), Err(Reason::BadHeader));
    let latin = [PLAIN.as_bytes(), b"# \xe9\n"].concat();
    assert!(Descriptor::parse(&latin).is_err());
}
