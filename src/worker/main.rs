//! The worker: one piece of work, one report, one exit code.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use vmdisk_wire::{Operation, Report};
use vmdisk_worker::cli::{Cli, Command, Content, Run};
use vmdisk_worker::failure::{Failure, Reason, Result};
use vmdisk_worker::progress::{self, Counters};
use vmdisk_worker::report::{self, Findings};
use vmdisk_worker::work::{self, Work};

/// Chunks are made by one thread and freed by another, hundreds of megabytes a second. glibc gives such memory back to the
/// system and takes it anew: a fifth of the CPU time of a plain download went into page faults.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Where the kernel gives huge pages unasked: small buffers fill little of them, so they double what a worker holds,
    // and make nothing faster. A kernel without them has nothing to switch off.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    // The only provider that this tree links; a second installation would be a bug, and harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("VMDISK_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,vmdisk_worker=info")),
        )
        .init();
    let command = match Cli::parse().command {
        Some(command) => command,
        // A pod's command line need not say what its environment says.
        None => Command::Run(RunAlone::parse().run),
    };
    match command {
        Command::Run(run) => perform(run.work(), Voice::Machine(&run.termination_log)),
        Command::Fetch(fetch) => perform(fetch.work(), Voice::human(&fetch.image.content, fetch.output.report)),
        Command::Convert(convert) => perform(Ok(convert.work()), Voice::human(&convert.content, convert.output.report)),
        Command::Inspect(image) => perform(image.work(Operation::Inspect), Voice::human(&image.content, false)),
    }
}

/// `run` without its name.
#[derive(Debug, Parser)]
struct RunAlone {
    #[command(flatten)]
    run: Run,
}

/// Who listens.
#[derive(Clone, Copy)]
enum Voice<'a> {
    /// A controller: JSON lines, and the report as the termination message at this path.
    Machine(&'a Path),
    /// A human: sentences, and with this a table of where the stages waited.
    Human(bool),
    /// A script: the report as JSON.
    Script,
}

impl Voice<'_> {
    fn human(content: &Content, waits: bool) -> Self {
        if content.json { Self::Script } else { Self::Human(waits) }
    }
}

fn perform(ordered: Result<Work>, voice: Voice<'_>) -> ExitCode {
    let counters = Counters::default();
    let findings = Findings::default();
    let outcome = ordered.and_then(|work| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Reason::Internal, format!("failed to start: {error}")))
            .and_then(|runtime| {
                let outcome = runtime.block_on(attend(&work, &counters, &findings, voice));
                // Threads that are stuck in I/O must not hold back the report.
                runtime.shutdown_background();
                if let Err(failure) = &outcome {
                    work::clear_up(&work, failure, &findings);
                }
                outcome
            })
    });
    let report = report::report(&outcome, &findings, &counters);
    tell(&report, voice);
    // A thread may still hold the target; the exit ends it.
    std::process::exit(report.class.code().into())
}

/// The work, until it ends or somebody wants it to.
async fn attend(work: &Work, counters: &Counters, findings: &Findings, voice: Voice<'_>) -> Result<String> {
    let stop = async {
        let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let show = async {
        match voice {
            Voice::Machine(path) => progress::lines(counters, last_words(path, counters, findings)).await,
            Voice::Human(_) => progress::bar(counters).await,
            Voice::Script => std::future::pending().await,
        }
    };
    tokio::select! {
        outcome = work::run(work, counters, findings) => outcome,
        () = stop => Err(Failure::new(Reason::Interrupted, "the worker was told to stop before it was done")),
        () = show => Err(Failure::new(Reason::Internal, "the progress display ended")),
    }
}

/// Keeps the report such that this worker could be killed at any time.
fn last_words(path: &Path, counters: &Counters, findings: &Findings) -> impl FnMut() {
    let mut last = None;
    move || {
        let now = report::so_far(findings, counters);
        if last.as_ref() != Some(&now) {
            // The report of the end tells of what hinders it.
            let _ = report::write(&now, path);
            last = Some(now);
        }
    }
}

fn tell(report: &Report, voice: Voice<'_>) {
    match voice {
        Voice::Machine(path) => {
            progress::print_line(report);
            if let Err(error) = report::write(report, path) {
                tracing::error!(path = %path.display(), %error, "failed to write the report");
            }
        }
        Voice::Script => progress::print_line(report),
        Voice::Human(waits) => {
            if waits {
                complain(&report::waits(&report.waits));
            }
            complain(&if report.reason == "Done" {
                report.message.clone()
            } else {
                format!("{}: {}", report.reason, report.message)
            });
        }
    }
}

fn complain(text: &str) {
    // Nobody is left to tell when stderr is closed.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
