use super::*;

/// Every schema node of a CRD with its path.
fn walk<'a>(path: String, schema: &'a JSONSchemaProps, found: &mut Vec<(String, &'a JSONSchemaProps)>) {
    for (name, property) in schema.properties.iter().flatten() {
        walk(format!("{path}.{name}"), property, found);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(item)) = &schema.items {
        walk(format!("{path}[]"), item, found);
    }
    found.push((path, schema));
}

fn nodes(crd: &CustomResourceDefinition) -> Vec<(String, &JSONSchemaProps)> {
    let mut found = Vec::new();
    for version in &crd.spec.versions {
        let schema = version.schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap();
        walk(crd.spec.names.kind.clone(), schema, &mut found);
    }
    // The API server keeps metadata itself; its schema here is an empty object.
    found.retain(|(path, _)| !path.ends_with(".metadata"));
    found
}

#[test]
fn every_property_is_explained() {
    for crd in crds() {
        for (path, schema) in nodes(&crd) {
            if path.ends_with("[]") {
                continue;
            }
            let text = schema.description.as_deref().unwrap_or_default();
            assert!(!text.is_empty(), "{path} has no description");
            assert!(!text.starts_with("Auto-generated"), "{path}: {text}");
        }
    }
}

#[test]
fn everything_is_bounded_and_nothing_is_nullable() {
    for crd in crds() {
        for (path, schema) in nodes(&crd) {
            assert_eq!(schema.nullable, None, "{path}");
            match schema.type_.as_deref() {
                Some("string") => assert!(
                    schema.max_length.is_some()
                        || schema.enum_.is_some()
                        || schema.format.as_deref() == Some("date-time"),
                    "{path} is a string without maxLength"
                ),
                Some("array") => assert!(schema.max_items.is_some(), "{path} is a list without maxItems"),
                Some("integer") => {
                    let format = schema.format.as_deref();
                    assert!(matches!(format, Some("int32" | "int64")), "{path} has the format {format:?}");
                }
                _ => {}
            }
        }
    }
}

/// schemars prefers the text of an optional field's type to that of the field.
#[test]
fn a_field_has_its_own_text() {
    let crd = finished(VMDiskImage::crd());
    let nodes = nodes(&crd);
    for (wanted, beginning) in [
        ("VMDiskImage.spec.sourceType", "How to speak to the source."),
        ("VMDiskImage.spec.pullPolicy", "When to ask the source again. IfNotPresent uses"),
        ("VMDiskImage.status.golden", "The golden data that is current."),
    ] {
        let (_, schema) = nodes.iter().find(|(path, _)| path == wanted).unwrap();
        let text = schema.description.as_deref().unwrap();
        assert!(text.starts_with(beginning), "{wanted}: {text}");
        assert!(!text.contains('\n'), "{wanted}: {text}");
    }
}

#[test]
fn enumerations_list_their_values() {
    let crd = finished(VMDiskImage::crd());
    let values = |wanted: &str| {
        let nodes = nodes(&crd);
        let (_, schema) = nodes.iter().find(|(path, _)| path == wanted).unwrap();
        let values: Vec<String> =
            schema.enum_.iter().flatten().map(|value| value.0.as_str().unwrap().to_owned()).collect();
        values.join(" ")
    };
    assert_eq!(values("VMDiskImage.spec.sourceType"), "registry s3 http blank");
    assert_eq!(values("VMDiskImage.spec.format"), "auto raw qcow2 vmdk vdi vhd vhdx");
    assert_eq!(values("VMDiskImage.spec.pullPolicy"), "IfNotPresent Always Never");
    assert_eq!(values("VMDiskImage.status.phase"), "Pending Queued Syncing Succeeded Failed");
}
