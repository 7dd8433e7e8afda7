//! The worker's last word, and what is gathered for it on the way.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use vmdisk_wire::{ExitClass, Format, Report, SourceFacts, StageWait, UNFINISHED};

use crate::failure::Result;
use crate::progress::Counters;

/// What an attempt has learnt so far, shared by its stages: a failure must not lose it.
#[derive(Debug, Clone, Default)]
pub struct Findings(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    facts: SourceFacts,
    resumable: bool,
}

impl Findings {
    fn with<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        // A stage that panicked half-way leaves at worst one fact out.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What names the source's bytes, and how many there are.
    pub fn source(&self, digest: Option<String>, size: Option<u64>) {
        self.with(|inner| {
            inner.facts.digest = digest;
            inner.facts.size = size;
        });
    }

    /// What the source has recorded of the bytes' integrity.
    pub fn checksum(&self, checksum: Option<String>) {
        self.with(|inner| inner.facts.checksum = checksum);
    }

    /// What the image is.
    pub fn format(&self, format: vmdisk_format::Format, virtual_size: Option<u64>) {
        self.with(|inner| {
            inner.facts.format = Some(to_wire(format));
            inner.facts.virtual_size = virtual_size.or(inner.facts.virtual_size);
        });
    }

    /// The size of a disk that has no source.
    pub fn virtual_size(&self, size: u64) {
        self.with(|inner| inner.facts.virtual_size = Some(size));
    }

    /// Whether a later attempt can go on.
    pub fn resumable(&self, resumable: bool) {
        self.with(|inner| inner.resumable = resumable);
    }

    /// The facts.
    #[must_use]
    pub fn facts(&self) -> SourceFacts {
        self.with(|inner| inner.facts.clone())
    }
}

/// The report of an attempt that ended with `outcome`, which holds the message of a success.
#[must_use]
pub fn report(outcome: &Result<String>, findings: &Findings, counters: &Counters) -> Report {
    let mut report = findings.with(|inner| Report {
        source: inner.facts.clone(),
        waits: counters.clocks().report(),
        resumable: inner.resumable,
        ..Report::default()
    });
    report.bytes_fetched = counters.fetched();
    report.bytes_written = counters.written();
    match outcome {
        Ok(message) => {
            report.class = ExitClass::Done;
            report.resumable = false;
            report.reason = "Done".into();
            report.message.clone_from(message);
        }
        Err(failure) => {
            report.class = failure.class();
            report.reason = failure.reason.to_string();
            report.message.clone_from(&failure.message);
            report.retry_after_seconds = failure.retry_after.map(|wish| wish.as_secs());
        }
    }
    report
}

/// What is to be known of an attempt that is killed now. Not how it ends: nobody takes it for a success.
#[must_use]
pub fn so_far(findings: &Findings, counters: &Counters) -> Report {
    Report {
        class: ExitClass::Transient,
        reason: UNFINISHED.into(),
        message: "the worker has not ended yet".into(),
        source: findings.facts(),
        bytes_fetched: counters.fetched(),
        bytes_written: counters.written(),
        resumable: findings.with(|inner| inner.resumable),
        ..Report::default()
    }
}

/// Where the stages waited, for humans. What waited least is what the others waited for: a stage, or the source, which
/// waits when the first stage does not take what it sends.
#[must_use]
pub fn waits(waits: &[StageWait]) -> String {
    let seconds = |millis: u64| format!("{}.{:03} s", millis / 1000, millis % 1000);
    let mut lines = vec![format!("{:<8}{:>12}{:>12}", "waited", "for input", "for output")];
    lines.extend(
        waits
            .iter()
            .map(|wait| format!("{:<8}{:>12}{:>12}", wait.stage, seconds(wait.input_ms), seconds(wait.output_ms))),
    );
    let source = waits.first().map(|first| ("source", first.output_ms));
    let stages = waits.iter().map(|wait| (wait.stage.as_str(), wait.input_ms + wait.output_ms));
    let pace = source.into_iter().chain(stages).min_by_key(|(_, waited)| *waited);
    lines.extend(pace.map(|(name, _)| format!("{name} set the pace")));
    lines.join("\n")
}

/// Writes the report to where the kubelet looks for it.
///
/// # Errors
///
/// The file system's.
pub fn write(report: &Report, path: &Path) -> io::Result<()> {
    std::fs::write(path, report.to_message())
}

fn to_wire(format: vmdisk_format::Format) -> Format {
    match format {
        vmdisk_format::Format::Raw => Format::Raw,
        vmdisk_format::Format::Qcow2 => Format::Qcow2,
        vmdisk_format::Format::Vmdk => Format::Vmdk,
        vmdisk_format::Format::Vdi => Format::Vdi,
        vmdisk_format::Format::Vhd => Format::Vhd,
        vmdisk_format::Format::Vhdx => Format::Vhdx,
    }
}

/// The declared format, `None` for going by content.
#[must_use]
pub fn from_wire(format: Format) -> Option<vmdisk_format::Format> {
    Some(match format {
        Format::Auto => return None,
        Format::Raw => vmdisk_format::Format::Raw,
        Format::Qcow2 => vmdisk_format::Format::Qcow2,
        Format::Vmdk => vmdisk_format::Format::Vmdk,
        Format::Vdi => vmdisk_format::Format::Vdi,
        Format::Vhd => vmdisk_format::Format::Vhd,
        Format::Vhdx => vmdisk_format::Format::Vhdx,
    })
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
