//! The Go tools: control plane, node, registry, S3 server and the CSI sidecars, built once from one pinned module.

use std::fs;
use std::io::{BufRead as _, BufReader, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::cache;
use crate::command::cmd;
use crate::say::say;

/// How the tools are built; part of the cache's key.
const FLAGS: &[&str] = &[
    // runc refuses every pod with a seccomp profile without this tag.
    "-tags",
    "seccomp",
    "-trimpath",
    // Kubernetes calls itself v0.0.0 when nobody tells it its version.
    "-ldflags",
    "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3 \
     -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36",
];

/// How often the waiting person hears that the build goes on.
const NEWS: Duration = Duration::from_secs(15);

/// The directory with the built tools, building them when this version of them is not in the cache.
///
/// # Errors
/// When Go is missing or the build fails.
pub(crate) fn ensure(checkout: &Path) -> Result<PathBuf> {
    let module = checkout.join("hack/cluster/tools");
    let read = |name: &str| fs::read(module.join(name)).with_context(|| format!("cannot read {name} of the tools"));
    let flags = FLAGS.join("\0");
    let key = cache::key(&[&read("go.mod")?, &read("go.sum")?, flags.as_bytes()]);
    cache::once("tools", &key, |dir| build(&module, dir))
}

/// Builds the CSI driver of the embedded cluster. Go's own cache makes this quick, and its sources change, so there is
/// no key: the binary is always the checkout's.
///
/// # Errors
/// When the build fails.
pub(crate) fn csi_driver(checkout: &Path, dir: &Path) -> Result<PathBuf> {
    let module = checkout.join("hack/cluster/csi");
    ensure!(module.join("go.mod").is_file(), "{} has no go.mod", module.display());
    let binary = dir.join("vmdisk-csi");
    let partial = dir.join("vmdisk-csi.partial");
    cmd("go").dir(&module).args(["build", "-trimpath", "-o"]).arg(&partial).arg(".").run()?;
    // A running driver is replaced by name: its file is busy.
    fs::rename(&partial, &binary).context("cannot put the CSI driver in its place")?;
    Ok(binary)
}

/// Compiles every `tool` line of the module into `dir`, and says what it is doing and for how long.
fn build(module: &Path, dir: &Path) -> Result<()> {
    ensure!(
        cmd("go").arg("version").succeeds(),
        "Go is not installed: the embedded cluster is compiled from source (see hack/cluster/tools/go.mod for the version)"
    );
    say("  building Kubernetes, containerd, the registry and the other tools of the embedded cluster.");
    say("  They are compiled from source once and kept in the cache: this first build takes 5 to 20 minutes.");
    let start = Instant::now();
    phase(module, "downloading Go modules", start, &["mod", "download", "-x"], None)?;
    phase(module, "compiling and linking", start, &["build", "-v"], Some(dir))?;
    say(&format!("  tools built in {:.0} s", start.elapsed().as_secs_f64()));
    Ok(())
}

/// Runs one phase; go's own chatter (one line a package) becomes a count.
fn phase(module: &Path, what: &str, start: Instant, args: &[&str], out: Option<&Path>) -> Result<()> {
    let mut go = Command::new("go");
    go.current_dir(module).args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    if let Some(out) = out {
        go.args(FLAGS).arg("-o").arg(out).arg("tool");
    }
    let mut child = go.spawn().with_context(|| format!("cannot start go ({what})"))?;
    let stderr = child.stderr.take().context("go's standard error is piped")?;
    let lines = AtomicU32::new(0);
    let mut last = String::new();
    let status = std::thread::scope(|scope| {
        let (finished, wait) = std::sync::mpsc::channel::<()>();
        let lines = &lines;
        scope.spawn(move || {
            let interval = if std::io::stderr().is_terminal() { NEWS } else { NEWS * 4 };
            while wait.recv_timeout(interval) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let seconds = start.elapsed().as_secs();
                let count = lines.load(Ordering::Relaxed);
                say(&format!("    {what}: {count} packages so far, {}:{:02} min", seconds / 60, seconds % 60));
            }
        });
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            lines.fetch_add(1, Ordering::Relaxed);
            keep_tail(&mut last, &line);
        }
        let status = child.wait();
        drop(finished);
        status
    })?;
    ensure!(status.success(), "go ({what}) failed: {status}\n{last}");
    Ok(())
}

/// Keeps the end of go's output for the error message.
fn keep_tail(tail: &mut String, line: &str) {
    tail.push_str(line);
    tail.push('\n');
    if tail.len() > 16_384 {
        let cut = tail.len() - 8192;
        let cut = (cut..tail.len()).find(|at| tail.is_char_boundary(*at)).unwrap_or(0);
        tail.drain(..cut);
    }
}
