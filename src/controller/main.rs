//! The controller's process.

use std::process::ExitCode;

use clap::Parser;
use vmdisk_controller::runtime::{self, Settings, telemetry};

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    // Fails only where a provider was installed before, and then there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    telemetry::start();
    match runtime::run(Settings::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "ending");
            ExitCode::FAILURE
        }
    }
}
