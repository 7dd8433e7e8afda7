//! The stages, each done alone by the fastest independent tool: what the floor is made of.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::images;
use super::rows::{Compression, Format, Image, Row, STANDARD_SIZE, Via};
use super::runner::Runner;
use super::source::Offer;
use super::verdict::Stage;

/// One stage to be done.
struct Plan {
    name: &'static str,
    tool: &'static str,
    command: Command,
    bytes: u64,
}

/// Does every stage that the row's image needs; with `diff_ids`, hashes unpacked layers too.
pub(super) fn measure(runner: &Runner<'_>, row: &Row, offer: &Offer, diff_ids: bool) -> Result<Vec<Stage>> {
    let mut stages = Vec::new();
    for Plan { name, tool, mut command, bytes } in plans(runner, row, offer, diff_ids)? {
        let (usage, server_cpu, _) = runner.run(&mut command)?;
        stages.push(Stage { name, tool, wall: usage.wall, cpu: usage.cpu, server_cpu, bytes });
    }
    stages.push(write(runner)?);
    Ok(stages)
}

fn plans(runner: &Runner<'_>, row: &Row, offer: &Offer, diff_ids: bool) -> Result<Vec<Plan>> {
    let (file, size) = (&offer.made.path, offer.made.size);
    let mut plans = vec![
        Plan { name: "transfer", tool: "curl", command: transfer(runner, &offer.blob_url), bytes: size },
        Plan { name: "hash", tool: "openssl", command: hash(runner, file), bytes: size },
    ];
    if let Some(compression) = row.image.compression {
        let (tool, command) = decompress(runner, compression, file);
        plans.push(Plan { name: "decompress", tool, command, bytes: STANDARD_SIZE });
    }
    if diff_ids && row.via == Via::Registry {
        // The tar around the image is nothing beside it.
        let plain = images::file(row.image.plain())?;
        plans.push(Plan { name: "diff_id", tool: "openssl", command: hash(runner, &plain.path), bytes: plain.size });
    }
    if row.image.format != Format::Raw {
        let command = decode(runner, row.image)?;
        plans.push(Plan { name: "decode", tool: "qemu-img", command, bytes: STANDARD_SIZE });
    }
    Ok(plans)
}

fn transfer(runner: &Runner<'_>, url: &str) -> Command {
    let mut curl = runner.command("curl");
    curl.args(["--fail", "--silent", "--show-error", "--output", "/dev/null", url]);
    curl
}

fn hash(runner: &Runner<'_>, file: &Path) -> Command {
    let mut openssl = runner.command("openssl");
    openssl.args(["dgst", "-sha256"]).arg(file);
    openssl
}

fn decompress(runner: &Runner<'_>, compression: Compression, file: &Path) -> (&'static str, Command) {
    let (tool, script) = match compression {
        // It tests no file whose name does not end in .gz.
        Compression::Gzip => ("igzip", r#"exec igzip -d -c "$FILE" > /dev/null"#),
        Compression::Zstd => ("zstd", r#"exec zstd -q -t "$FILE""#),
        Compression::Xz => ("xz", r#"exec xz -q -t -T0 "$FILE""#),
    };
    let mut command = runner.shell(script);
    command.env("FILE", file);
    (tool, command)
}

/// From the bare image to nowhere, with everything that makes `qemu-img` fast.
fn decode(runner: &Runner<'_>, image: Image) -> Result<Command> {
    let mut convert = runner.command("qemu-img");
    convert.args(["convert", "-n", "--target-is-zero", "-W", "-m", "16", "-f", image.format.name()]);
    convert.arg(images::file(image.plain())?.path);
    convert.args(["--target-image-opts", &format!("driver=null-co,size={}", image.disk.size())]);
    Ok(convert)
}

/// The disk's data onto the file system that the worker writes to. fio needs long to begin, so its own clock counts.
fn write(runner: &Runner<'_>) -> Result<Stage> {
    let bytes = images::data_bytes()?;
    let file = runner.scratch("fio");
    let mut fio = runner.command("fio");
    fio.args(["--name=write", "--rw=write", "--direct=1", "--bs=1M", "--ioengine=libaio", "--iodepth=4"])
        .args(["--fallocate=native", "--end_fsync=1", "--thread", "--output-format=json"])
        .arg(format!("--size={bytes}"))
        .arg(format!("--filename={}", file.display()));
    let (_, _, printed) = runner.run(&mut fio)?;
    let (wall, cpu) = fio_times(&printed).with_context(|| format!("fio printed no times: {printed}"))?;
    Ok(Stage { name: "write", tool: "fio", wall, cpu, server_cpu: 0.0, bytes })
}

/// Seconds, and CPU-seconds. Notes for people may stand before the JSON.
fn fio_times(printed: &str) -> Option<(f64, f64)> {
    let report: Value = serde_json::from_str(printed.get(printed.find('{')?..)?).ok()?;
    let job = report.pointer("/jobs/0")?;
    let wall = job.pointer("/write/runtime")?.as_f64()? / 1000.0;
    let share = job.get("usr_cpu")?.as_f64()? + job.get("sys_cpu")?.as_f64()?;
    (wall > 0.0).then_some((wall, wall * share / 100.0))
}

#[cfg(test)]
#[path = "stages_tests.rs"]
mod tests;
