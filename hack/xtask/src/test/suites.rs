//! What `cargo xtask test` runs, one function a suite.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use vmdisk_e2e::cache;
use vmdisk_e2e::command::{Cmd, cmd};
use vmdisk_e2e::environment::Environment;
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::launcher;
use vmdisk_e2e::say::say;

use super::{listing, qemu};
use crate::deploy;

/// The version of cargo-deny that judges the dependencies.
const CARGO_DENY: &str = "0.20.2";
/// The crates that are published, dependencies first.
const PUBLISHED: [&str; 2] = ["volume-quantity", "volume-populator"];
/// The directory of tests that must have the cluster for themselves.
const SERIAL: &str = "serial";
/// The directory of tests that judge what all others left in the audit log.
const LAST: &str = "audit";
/// The directory of the test that kills the cluster's components. An API server that has just started refuses what it
/// allows a moment later, so this comes after those that judge the audit log.
const CHAOS: &str = "chaos";
/// The directory of the tests that bring control planes of their own.
const CRASH: &str = "crash";

/// Runs cargo in the checkout, for the user to watch.
pub(super) fn cargo(instance: &Instance, args: &[&str]) -> Result<()> {
    cmd("cargo").dir(instance.checkout()).args(args).run_visibly()
}

/// Clippy on everything, without a warning; on the fuzz targets too, which are a workspace of their own.
pub(super) fn lints(instance: &Instance) -> Result<()> {
    let target_dir = deploy::target_dir(instance).display().to_string();
    let fuzz = ["--manifest-path", "fuzz/Cargo.toml", "--target-dir", &target_dir];
    for which in [&["--workspace", "--all-features"][..], &fuzz] {
        let args = [&["clippy", "--all-targets", "--quiet"], which, &["--", "--deny", "warnings"]].concat();
        cargo(instance, &args)?;
    }
    Ok(())
}

/// Where the tests are that need no cluster. The harness of the end-to-end tests has pure parts, behind the feature that
/// also builds those tests.
const UNIT: [&[&str]; 2] = [&["--workspace"], &["--package", "vmdisk-e2e", "--features", "cluster", "--lib"]];

/// Every test that needs no cluster.
pub(super) fn unit(instance: &Instance, filter: Option<&str>) -> Result<()> {
    let qemu = qemu::other()?;
    for which in UNIT {
        let args: Vec<&str> = ["test", "--quiet"].into_iter().chain(which.iter().copied()).chain(filter).collect();
        cmd("cargo").dir(instance.checkout()).env(qemu::VARIABLE, &qemu).args(args).run_visibly()?;
    }
    Ok(())
}

/// Whether a test that needs no cluster has a name that contains `filter`.
pub(super) fn unit_matches(instance: &Instance, filter: &str) -> Result<bool> {
    for which in UNIT {
        let args = [&["test", "--quiet"], which, &["--", "--list"]].concat();
        if listing::names(&cmd("cargo").dir(instance.checkout()).args(args).output()?, filter) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Licenses, sources and forbidden crates. Installs the pinned judge into the cache first.
pub(super) fn dependencies(instance: &Instance) -> Result<()> {
    let tool = cache::once("cargo-deny", CARGO_DENY, |dir| {
        say("  installing cargo-deny (once)");
        let args = ["install", "--quiet", "--locked", "--version", CARGO_DENY, "cargo-deny", "--root"];
        cmd("cargo").args(args).arg(dir).run_visibly()
    })?;
    cmd(tool.join("bin/cargo-deny"))
        .dir(instance.checkout())
        .args(["check", "bans", "licenses", "sources"])
        .run_visibly()
}

/// What is published: its documentation without a warning, and packages that hold what their manifests promise.
pub(super) fn publishable(instance: &Instance) -> Result<()> {
    let crates = PUBLISHED.iter().flat_map(|name| ["--package", name]);
    let doc = ["doc", "--quiet", "--no-deps"].into_iter().chain(crates.clone());
    cmd("cargo").dir(instance.checkout()).env("RUSTDOCFLAGS", "--deny warnings").args(doc).run_visibly()?;
    // Both at once: one depends on the other, which no registry has yet. Not compiled again from there, which would
    // take minutes. `publish --dry-run` says no more, and asks the registry; what earlier stages fetched is enough.
    let package = ["package", "--quiet", "--offline", "--no-verify", "--allow-dirty"].into_iter().chain(crates);
    cmd("cargo").dir(instance.checkout()).args(package).run_visibly()
}

fn csi(instance: &Instance) -> PathBuf {
    instance.checkout().join("hack/cluster/csi")
}

/// The CSI driver's pure parts.
pub(super) fn csi_driver(instance: &Instance) -> Result<()> {
    cmd("go").dir(&csi(instance)).args(["vet", "./..."]).run_visibly()?;
    cmd("go").dir(&csi(instance)).args(["test", "./..."]).run_visibly()
}

/// The CSI driver on loop devices of this machine, csi-sanity among its judges.
pub(super) fn csi_driver_live(instance: &Instance) -> Result<()> {
    let sanity = launcher::tools(instance)?.join("csi-sanity");
    cmd("go")
        .dir(&csi(instance))
        .env("VMDISK_CSI_LIVE", "1")
        .env("CSI_SANITY", sanity)
        .args(["test", "-count=1", "./livetest/..."])
        .run_visibly()
}

/// The controller ended at each of its writes, on stages of the test's own; `long` adds lives, faults and stale views.
pub(super) fn crash(instance: &Instance, filter: Option<&str>, long: bool) -> Result<()> {
    // The stage takes its programs from there.
    launcher::tools(instance)?;
    let command = crash_cargo(instance).args(["--"].into_iter().chain(filter)).args(long.then_some("--long"));
    if command.run_visibly().is_err() {
        bail!("a life of a claim does not survive; try it again by its name: cargo xtask test NAME");
    }
    Ok(())
}

/// Whether a life has a name that contains `filter`.
pub(super) fn crash_matches(instance: &Instance, filter: &str) -> Result<bool> {
    Ok(listing::names(&crash_cargo(instance).args(["--quiet", "--", "--list"]).output()?, filter))
}

fn crash_cargo(instance: &Instance) -> Cmd {
    let target = ["test", "--package", "vmdisk-e2e", "--features", "cluster", "--test", CRASH];
    cmd("cargo").dir(instance.checkout()).args(target)
}

/// End-to-end tests that run in the same way: a directory each in e2e/tests, beside each other within a lane.
pub(super) struct Lane {
    title: &'static str,
    targets: Vec<String>,
    serial: bool,
}

impl Lane {
    /// The lanes in their order: what can run beside others; what kills the controller, stops a component or edits the
    /// policy; what looks back; and what kills the cluster itself.
    pub(super) fn all(instance: &Instance) -> Result<Vec<Self>> {
        let dir = instance.checkout().join("e2e/tests");
        let entries = fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))?;
        let mut targets: Vec<String> = entries
            .flatten()
            .filter(|entry| entry.path().join("main.rs").is_file())
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        targets.sort();
        let mut take = |name: &str| -> Vec<String> { targets.extract_if(.., |target| target == name).collect() };
        let (serial, last, chaos) = (take(SERIAL), take(LAST), take(CHAOS));
        // Those need no cluster.
        drop(take(CRASH));
        let lane = |title, targets, serial| Self { title, targets, serial };
        let mut lanes = vec![
            lane("end-to-end tests", targets, false),
            lane("end-to-end tests, one by one", serial, true),
            lane("what the audit log says of them", last, true),
            lane("chaos on the nodes", chaos, true),
        ];
        lanes.retain(|lane| !lane.targets.is_empty());
        Ok(lanes)
    }

    /// What the lane is called.
    pub(super) fn title(&self) -> &'static str {
        self.title
    }

    /// Whether a test of the lane has a name that contains `filter`.
    pub(super) fn matches(&self, instance: &Instance, filter: &str) -> Result<bool> {
        Ok(listing::names(&self.cargo(instance).args(["--quiet", "--", filter, "--list"]).output()?, filter))
    }

    /// Runs the lane; all of its tests, also when some fail.
    pub(super) fn run(&self, instance: &Instance, filter: Option<&str>) -> Result<()> {
        let environment = Environment::load(instance)?;
        let mut command = self.cargo(instance).arg("--no-fail-fast").arg("--").args(filter);
        if self.serial {
            command = command.arg("--test-threads=1");
        }
        for (name, value) in environment.iter() {
            let value = match (name, std::env::var(name)) {
                ("PATH", Ok(path)) => format!("{value}:{path}"),
                _ => value.to_owned(),
            };
            command = command.env(name, value);
        }
        if command.run_visibly().is_err() {
            bail!("tests failed; run one again by its name: cargo xtask test NAME --keep");
        }
        Ok(())
    }

    fn cargo(&self, instance: &Instance) -> Cmd {
        let targets = self.targets.iter().flat_map(|target| ["--test", target]);
        let package = ["test", "--package", "vmdisk-e2e", "--features", "cluster"];
        cmd("cargo").dir(instance.checkout()).args(package).args(targets)
    }
}
