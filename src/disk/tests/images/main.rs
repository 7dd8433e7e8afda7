//! The crate as its users see it: images by QEMU's tools and by a writer of our own, through the public interface.
//!
//! These tests need `qemu-img` and `qemu-io`; without them they fail.

mod hostile;
mod inspect_qemu;
mod qcow2_property;
mod qcow2_qemu;
mod support;
mod tabled_property;
mod vdi_qemu;
mod vhd_qemu;
mod vhdx_qemu;
mod vmdk_qemu;
mod vmdk_stream;
