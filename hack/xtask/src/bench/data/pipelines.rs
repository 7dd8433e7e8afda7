//! From a source to a raw disk in a file: by the worker, and by what a user would write.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use vmdisk_e2e::command::cmd;
use vmdisk_wire::Report;

use super::images;
use super::rows::{Compression, Format, Row, Via};
use super::runner::Runner;
use super::source::Offer;
use super::verdict::Ours;

/// Where the disk goes, below the runner's directory.
const OUTPUT: &str = "disk.img";

/// One run of the worker, whose disk is compared with the reference.
pub(super) fn ours(runner: &Runner<'_>, worker: &Path, row: &Row, offer: &Offer) -> Result<Ours> {
    let output = runner.scratch(OUTPUT);
    let mut command = runner.command(worker);
    command.env("VMDISK_LOG", "warn").args(["fetch", "--json", "--url", &offer.url]);
    match row.via {
        // The manifest says what the layer must be.
        Via::Registry => {}
        Via::Http => drop(command.args(["--checksum", &format!("sha256:{}", offer.made.sha256)])),
        Via::S3 => drop(command.args(["--source-type", "s3", "--checksum", &format!("sha256:{}", offer.made.sha256)])),
    }
    let (usage, _, printed) = runner.run(command.arg("--output").arg(&output))?;
    let report = Report::parse(&printed).with_context(|| format!("the worker printed no report: {printed:?}"))?;
    verify(&output, row).context("the worker wrote a wrong disk")?;
    Ok(Ours {
        wall: usage.wall,
        cpu: usage.cpu,
        peak_mib: usage.peak_mib,
        written: report.bytes_written,
        fetched: report.bytes_fetched,
    })
}

/// One run of what a user would write; its seconds. It checks nothing that its tools do not check by themselves.
pub(super) fn naive(runner: &Runner<'_>, row: &Row, offer: &Offer) -> Result<f64> {
    let output = runner.scratch(OUTPUT);
    let mut command = runner.shell(&script(row));
    let layer = offer.made.path.file_name().context("a layer has a name")?;
    command.env("URL", &offer.url).env("OUT", &output).env("LAYER", layer);
    let (usage, ..) = runner.run(&mut command)?;
    verify(&output, row).context("the naive pipeline wrote a wrong disk")?;
    Ok(usage.wall)
}

/// The commands, for a directory of their own to work in. Like the worker's, their disk is on the medium in the end.
fn script(row: &Row) -> String {
    let format = row.image.format;
    let convert = |from: &str| format!(r#"qemu-img convert -f {} -O raw {from} "$OUT""#, format.name());
    let lines = match (row.via, row.image.compression, format) {
        (Via::Registry, compression, _) => vec![
            r#"skopeo --insecure-policy copy --quiet --src-tls-verify=false "$URL" dir:image"#.to_owned(),
            format!(
                r#"tar --extract {} --file "image/$LAYER""#,
                if compression == Some(Compression::Zstd) { "--zstd" } else { "--gzip" }
            ),
            convert(&format!("disk/disk.{}", format.name())),
        ],
        (_, None, Format::Raw) => vec![r#"curl --fail --silent --show-error --output "$OUT" "$URL""#.to_owned()],
        (_, None, _) => vec![r#"curl --fail --silent --show-error --output image "$URL""#.to_owned(), convert("image")],
        (_, Some(compression), _) => {
            let decompress = match compression {
                Compression::Gzip => "gzip -d -c",
                Compression::Zstd => "zstd -q -d -c",
                Compression::Xz => "xz -d -c -T0",
            };
            let stream = format!(r#"curl --fail --silent --show-error "$URL" | {decompress}"#);
            match format {
                Format::Raw => vec![format!(r#"{stream} > "$OUT""#)],
                _ => vec![format!("{stream} > image"), convert("image")],
            }
        }
    };
    format!("{}\nsync \"$OUT\"", lines.join("\n"))
}

/// Compares a disk with the reference, byte for byte; what is behind the reference's end must be zeros.
fn verify(output: &Path, row: &Row) -> Result<()> {
    let length = fs::metadata(output).with_context(|| format!("there is no {}", output.display()))?.len();
    let expected = row.image.disk.size();
    ensure!(length == expected, "the disk has {length} bytes; expected {expected}");
    let formats = ["compare", "-q", "-f", "raw", "-F", "raw"];
    cmd("qemu-img").args(formats).arg(images::reference()?).arg(output).run()
}

#[cfg(test)]
#[path = "pipelines_tests.rs"]
mod tests;
