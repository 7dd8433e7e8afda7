//! The crate as its users see it: images by QEMU's tools, by `VMDKstream` and by a writer of our own, through the
//! public interface.
//!
//! These tests need Debian's `qemu-utils` and `python3-vmdkstream`; without them they fail. `cargo xtask test` installs
//! them, and brings QEMU's tools in a second version.

mod hostile;
mod inspect_qemu;
mod qcow2_property;
mod qcow2_qemu;
mod support;
mod tabled_property;
mod vdi_qemu;
mod vhd_qemu;
mod vhdx_qemu;
mod vmdk_foreign;
mod vmdk_qemu;
mod vmdk_stream;
