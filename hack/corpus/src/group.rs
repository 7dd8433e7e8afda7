//! Building cases from an image that is accepted.

use std::sync::Arc;

use crate::{
    bytes::Field,
    case::{Case, Class, Expected, Layer},
};

type Make = Arc<dyn Fn() -> Vec<u8> + Send + Sync>;

/// Cases that are one change away from a base image.
pub(crate) struct Group {
    format: &'static str,
    layer: Layer,
    variant: &'static str,
    base: Make,
    /// Makes checksums fit again after a change.
    seal: fn(&mut [u8]),
    cases: Vec<Case>,
}

impl Group {
    /// Cases of `format` that start from `base`, which is itself the first, and accepted.
    pub(crate) fn new(
        format: &'static str,
        variant: &'static str,
        layer: Layer,
        base: impl Fn() -> Vec<u8> + Send + Sync + 'static,
        seal: fn(&mut [u8]),
    ) -> Self {
        let mut this = Self { format, layer, variant, base: Arc::new(base), seal, cases: Vec::new() };
        this.valid("as-it-is", "nothing", |_| {});
        this
    }

    /// A change that a reader must put up with.
    pub(crate) fn valid(&mut self, name: &str, what: &str, change: impl Fn(&mut Vec<u8>) + Send + Sync + 'static) {
        self.push(name, what, Expected::Disk, change);
    }

    /// A change that must be refused with a message that `names` what is wrong.
    pub(crate) fn refused(
        &mut self,
        name: &str,
        names: &'static str,
        change: impl Fn(&mut Vec<u8>) + Send + Sync + 'static,
    ) {
        self.push(name, &words(name), Expected::Refused { class: Class::Malformed, names }, change);
    }

    /// A change that makes more of a disk than there is room for.
    pub(crate) fn too_large(
        &mut self,
        name: &str,
        names: &'static str,
        change: impl Fn(&mut Vec<u8>) + Send + Sync + 'static,
    ) {
        self.push(name, &words(name), Expected::Refused { class: Class::DoesNotFit, names }, change);
    }

    /// A header field with values that must each be refused by its name in the specification.
    pub(crate) fn extremes(&mut self, field: Field, names: &'static str, values: &[u64]) {
        for &value in values {
            self.put(field, value, Expected::Refused { class: Class::Malformed, names });
        }
    }

    /// A header field with values that a reader must put up with.
    pub(crate) fn harmless(&mut self, field: Field, values: &[u64]) {
        for &value in values {
            self.put(field, value, Expected::Disk);
        }
    }

    /// The first `length` bytes of the base image alone.
    pub(crate) fn cut(&mut self, length: usize, names: &'static str) {
        self.refused(&format!("cut-at-{length}"), names, move |image| {
            assert!(length < image.len(), "cut behind the end");
            image.truncate(length);
        });
    }

    /// All cases.
    pub(crate) fn finish(self) -> Vec<Case> {
        self.cases
    }

    fn put(&mut self, field: Field, value: u64, expected: Expected) {
        let name = format!("{}-{value:#x}", field.name);
        self.push(&name, &format!("{} is {value:#x}", field.name), expected, move |image| field.put(image, value));
    }

    fn push(
        &mut self,
        name: &str,
        what: &str,
        expected: Expected,
        change: impl Fn(&mut Vec<u8>) + Send + Sync + 'static,
    ) {
        let (base, seal) = (Arc::clone(&self.base), self.seal);
        self.cases.push(Case {
            name: format!("{}-{}-{name}", self.format, self.variant),
            group: self.format,
            layer: self.layer,
            fault: what.to_owned(),
            expected,
            make: Arc::new(move || {
                let mut image = base();
                change(&mut image);
                // What was cut has no structures left to seal in full.
                seal(&mut image);
                image
            }),
        });
    }
}

/// A name as prose.
fn words(name: &str) -> String {
    name.replace(['-', '_'], " ")
}
