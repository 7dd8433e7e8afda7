//! What the fuzz targets have in common: the invariants.

#[path = "../src/disk/tests/images/support/routes.rs"]
mod routes;

#[cfg(feature = "unpack")]
mod wrapping;

use vmdisk_corpus::Target;
#[cfg(feature = "unpack")]
pub use wrapping::wrapping;

/// More output than this tells nothing new.
pub(crate) const PATIENCE: usize = 16 << 20;

/// Inspects anything; what passes need not be decoded.
pub fn inspect(input: &[u8]) {
    judge(&routes::check(input, 4096, 0));
}

/// Decodes an image by every route: no panic, no byte outside the disk, one verdict and one disk.
pub fn image(target: Target, input: &[u8]) {
    let image = target.expand(input);
    judge(&routes::check(&image, 1 + input.len() % 5000, PATIENCE));
}

/// What is said of an image is fit for a terminal and for an event.
fn judge(outcome: &routes::Outcome) {
    if let routes::Outcome::Refused(refusal) = outcome {
        let message = refusal.to_string();
        assert!(message.len() < 1000 && !message.contains(char::is_control), "{message:?}");
    }
}
