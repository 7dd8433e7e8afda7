//! Kubernetes quantities, exactly: enough of them to compare two sizes.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The number of bytes, rounded up; `None` when it is no quantity or beyond all volumes.
pub(crate) fn bytes(quantity: &Quantity) -> Option<i64> {
    volume_quantity::parse(&quantity.0).ok()
}
