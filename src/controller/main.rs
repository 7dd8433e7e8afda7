//! The controller's process.

use anyhow::anyhow;
use clap::Parser;
use vmdisk_controller::runtime::{self, Settings, telemetry};

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow!("a TLS crypto provider was installed before ours"))?;
    telemetry::start();
    let settings = Settings::parse();
    runtime::run(settings).await
}
