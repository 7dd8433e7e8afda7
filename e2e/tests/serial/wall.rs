//! Taking our admission policies down for a test of the first wall, and having them up again after it.

use std::panic::AssertUnwindSafe;

use anyhow::{Result, ensure};
use futures::FutureExt as _;
use vmdisk_e2e::testing::{Bed, wall};

#[tokio::test]
async fn the_wall_is_down_for_as_long_as_a_test_needs_it_and_then_stands_again() -> Result<()> {
    let client = Bed::attach().await?.client;
    ensure!(wall::stands(&client).await?, "the policies are not in force");
    wall::without(&client, async || {
        ensure!(!wall::stands(&client).await?, "the wall stands");
        Ok(())
    })
    .await?;
    ensure!(wall::stands(&client).await?, "the wall is down after a test that passed");
    let panics = wall::without(&client, async || -> Result<()> { panic!("as a failed assertion does") });
    ensure!(AssertUnwindSafe(panics).catch_unwind().await.is_err(), "the panic is lost");
    ensure!(wall::stands(&client).await?, "the wall is down after a test that failed");
    Ok(())
}
