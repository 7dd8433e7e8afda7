//! A virtual machine as KubeVirt runs it, without KubeVirt: what proves that a claim was filled with a disk that boots.
//!
//! ```text
//! parts ──▶ disk ──▶ container_disk ──▶ registry ══ (the operator) ══▶ claim ──▶ pod ──▶ console
//! kernel,   qcow2    OCI image                                        disk.img   QEMU    the guest's line
//! GRUB, …   + nonce
//! ```

pub mod console;
pub mod container_disk;
mod digest;
pub mod disk;
pub mod image;
mod modules;
mod parts;
pub mod pod;
