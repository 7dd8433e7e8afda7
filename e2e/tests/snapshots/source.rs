//! A claim that is in use, and what is in it.

use std::time::Duration;

use anyhow::Result;
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::{Consumer, Scene, shell};

/// The name of the claim.
pub(crate) const SOURCE: &str = "source";
/// Enough for each step on a machine that is busy with builds.
pub(crate) const DEADLINE: Duration = Duration::from_mins(2);

/// Creates the claim and a pod that uses it until it is deleted, and writes to it; gives the digest of what was written.
pub(crate) async fn in_use(scene: &Scene, size: &str, mode: Mode, class: &str) -> Result<String> {
    scene.create(&objects::empty_claim(SOURCE, size, mode, class)).await?;
    let consumer = Consumer { claim: SOURCE, mode, node: None };
    consumer.create(scene).await?;
    consumer.runs(scene, DEADLINE).await?;
    write(scene, mode).await
}

/// Writes random bytes over the disk, without a sync, and gives their digest.
pub(crate) async fn write(scene: &Scene, mode: Mode) -> Result<String> {
    let disk = shell::disk(SOURCE, mode);
    // The digest is of the bytes, not of what is read back.
    let script = format!("head -c 8M /dev/urandom >/tmp/bytes; cat /tmp/bytes >{disk}; sha256sum </tmp/bytes");
    shell::run(scene, &[(SOURCE, mode)], &script, DEADLINE).await
}

/// The digest of what a claim holds.
pub(crate) async fn read(scene: &Scene, claim: &str, mode: Mode) -> Result<String> {
    shell::run(scene, &[(claim, mode)], &digest(&shell::disk(claim, mode)), DEADLINE).await
}

/// A script that prints the digest of as much as [`write`] writes.
pub(crate) fn digest(disk: &str) -> String {
    format!("head -c 8M {disk} | sha256sum")
}
