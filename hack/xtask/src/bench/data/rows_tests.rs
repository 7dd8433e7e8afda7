use std::collections::BTreeSet;

use super::*;

#[test]
fn names_and_titles_are_unique() {
    let names: BTreeSet<_> = ROWS.iter().map(|row| row.name).collect();
    let titles: BTreeSet<_> = ROWS.iter().map(Row::what).collect();
    assert_eq!((names.len(), titles.len()), (ROWS.len(), ROWS.len()));
}

#[test]
fn every_layer_is_compressed_and_nothing_in_a_bucket_is() {
    for row in ROWS {
        match row.via {
            Via::Registry => assert!(row.image.compression.is_some(), "{}", row.name),
            Via::S3 => assert!(row.image.compression.is_none(), "{}", row.name),
            Via::Http => {}
        }
    }
}

#[test]
fn only_chooses_by_name_and_names_what_is_unknown() {
    assert_eq!(named(&[]).expect("all").len(), ROWS.len());
    let one = named(&["s3-raw".to_owned()]).expect("one");
    assert_eq!(one.iter().map(|row| row.name).collect::<Vec<_>>(), ["s3-raw"]);
    assert_eq!(named(&["s3-raw".to_owned(), "s3".to_owned()]), Err("s3".to_owned()));
}
