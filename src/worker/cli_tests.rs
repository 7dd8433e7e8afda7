use clap::CommandFactory;

use super::*;

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn sizes_are_quantities_of_kubernetes() {
    for (text, expected) in [("0", Some(0)), ("512", Some(512)), ("20Gi", Some(20 << 30)), ("1.5Gi", Some(3 << 29))] {
        assert_eq!(bytes(text).ok(), expected, "{text}");
    }
    let message = bytes("24GB").unwrap_err();
    assert!(message.contains("\"24GB\" is not a quantity; write a number and a unit"), "{message}");
}

#[test]
fn the_url_says_the_protocol_unless_the_user_does() {
    let source_type = |arguments: &[&str]| {
        let all = [&["vmdisk-worker", "inspect"], arguments].concat();
        match Cli::parse_from(all).command {
            Some(Command::Inspect(image)) => image.work(Operation::Inspect).map(|work| work.source.source_type).ok(),
            other => panic!("{other:?}"),
        }
    };
    for (arguments, expected) in [
        (&["--url", "docker://h/r"][..], Some(SourceType::Registry)),
        (&["--url", "oci://h/r"], Some(SourceType::Registry)),
        (&["--url", "s3://b/k"], Some(SourceType::S3)),
        (&["--url", "https://h/x"], Some(SourceType::Http)),
        (&["--url", "https://h/x", "--source-type", "s3"], Some(SourceType::S3)),
        (&["--source-type", "blank"], Some(SourceType::Blank)),
        (&["--url", "ftp://h/x"], None),
        (&[], None),
    ] {
        assert_eq!(source_type(arguments), expected, "{arguments:?}");
    }
}
