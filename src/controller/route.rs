//! Which way a claim is filled. Pure.

use populator_crd::v1alpha1::{Route, RouteKind, SourceType, SpecError, VMDiskImageSpec};

/// The way for a claim of this image: fetched, or an empty disk.
///
/// # Errors
///
/// [`SpecError`] when the image's spec does not say what to do.
pub fn choose(spec: &VMDiskImageSpec) -> Result<Route, SpecError> {
    let kind = match spec.source_type()? {
        SourceType::Blank => RouteKind::Blank,
        SourceType::Registry | SourceType::S3 | SourceType::Http => RouteKind::Fetch,
    };
    Ok(Route { kind, reason: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blank_image_is_not_fetched() {
        let spec = |url: Option<&str>, source_type| VMDiskImageSpec {
            url: url.map(str::to_owned),
            source_type,
            ..VMDiskImageSpec::default()
        };
        for (spec, expected) in [
            (spec(None, Some(SourceType::Blank)), Some(RouteKind::Blank)),
            (spec(Some("https://host/a.qcow2"), None), Some(RouteKind::Fetch)),
            (spec(Some("https://host/bucket/a.qcow2"), Some(SourceType::S3)), Some(RouteKind::Fetch)),
            (spec(Some("docker://host/disk"), None), Some(RouteKind::Fetch)),
            (spec(None, None), None),
        ] {
            assert_eq!(choose(&spec).ok().map(|route| route.kind), expected, "{spec:?}");
        }
    }
}
