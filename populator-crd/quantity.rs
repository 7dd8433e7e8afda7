//! The API's quantities as bytes.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
pub use volume_quantity::{QuantityError, human};

/// The number of bytes a quantity stands for; a fraction of a byte counts as one, as in Kubernetes.
///
/// # Errors
///
/// [`QuantityError`] when the text is not a quantity, is negative, or exceeds `i64`.
pub fn bytes(quantity: &Quantity) -> Result<i64, QuantityError> {
    volume_quantity::parse(&quantity.0)
}
