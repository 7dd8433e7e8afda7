//! Where images are fetched from: a process of its own, so that its CPU-seconds can be told from the others'.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::images::{self, Made};
use super::rows::{Row, Via};
use super::{process, relay, server};

/// How the servers are started.
#[derive(clap::Args)]
pub(crate) struct SourceOptions {
    /// The directory with the files
    #[arg(long)]
    root: PathBuf,
    /// Serve through a relay of 1 Gb/s and 20 ms
    #[arg(long)]
    relay: bool,
}

/// Serves until standard input ends: with the process that has started this one, however that ends.
pub(crate) fn serve(options: &SourceOptions) -> Result<()> {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on the loopback");
    let listener = listen()?;
    let mut address = listener.local_addr()?;
    let root = options.root.clone();
    thread::spawn(move || server::serve(&listener, &root));
    if options.relay {
        let (front, server) = (listen()?, address);
        address = front.local_addr()?;
        thread::spawn(move || relay::relay(&front, server));
    }
    writeln!(std::io::stdout(), "{address}").context("cannot say where the servers listen")?;
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).map(drop).context("cannot wait for the end")
}

/// The running servers; they end when this is dropped.
pub(super) struct Source {
    process: Child,
    root: TempDir,
    /// Host and port.
    authority: String,
}

/// What is to be fetched for one row.
pub(super) struct Offer {
    /// As the worker wants it.
    pub(super) url: String,
    /// As any HTTP client wants it: of the one blob that has all the bytes.
    pub(super) blob_url: String,
    /// The file behind it.
    pub(super) made: Made,
}

impl Source {
    /// Starts the servers.
    pub(super) fn start(relay: bool) -> Result<Self> {
        let root = tempfile::tempdir().context("cannot make a directory for the servers")?;
        let program = std::env::current_exe().context("this program's path is unknown")?;
        let mut process = Command::new(program)
            .args(["bench", "source", "--root"])
            .arg(root.path())
            .args(relay.then_some("--relay"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the source's servers")?;
        let stdout = process.stdout.take().context("the standard output is piped")?;
        let mut authority = String::new();
        BufReader::new(stdout)
            .read_line(&mut authority)
            .context("the source's servers do not say where they listen")?;
        Ok(Self { process, root, authority: authority.trim().to_owned() })
    }

    /// The CPU-seconds that the servers have used so far.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        process::cpu_seconds(self.process.id())
    }

    /// Makes the image of a row if there is none, and offers it.
    pub(super) fn offer(&self, row: &Row) -> Result<Offer> {
        let name = row.name;
        match row.via {
            Via::Http | Via::S3 => {
                let made = images::file(row.image)?;
                let place = if row.via == Via::S3 { "bucket" } else { "files" };
                let (link, url) = self.place(&format!("{place}/{name}"));
                publish(&made.path, &link)?;
                Ok(Offer { blob_url: url.clone(), url, made })
            }
            Via::Registry => {
                let images::Layer { layout, manifest, blob } = images::layer(row.image)?;
                let (url, blobs) = self.repository(name, &layout.join("blobs"), &manifest)?;
                Ok(Offer { url, blob_url: format!("{blobs}/sha256:{}", blob.sha256), made: blob })
            }
        }
    }

    /// Offers an image of these blobs, whose manifest lies at this path below them. Gives its URL and that of its blobs.
    pub(super) fn repository(&self, name: &str, blobs: &Path, manifest: &Path) -> Result<(String, String)> {
        let (link, _) = self.place(&format!("v2/bench/{name}/manifests/latest"));
        publish(&blobs.join(manifest), &link)?;
        let (link, url) = self.place(&format!("v2/bench/{name}/blobs"));
        publish(blobs, &link)?;
        Ok((format!("docker://{}/bench/{name}:latest", self.authority), url))
    }

    /// Where a file is to lie, and the URL that it has then.
    fn place(&self, path: &str) -> (PathBuf, String) {
        (self.root.path().join(path), format!("http://{}/{path}", self.authority))
    }
}

fn publish(file: &Path, link: &Path) -> Result<()> {
    let parent = link.parent().context("a file lies in a directory")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    symlink(file, link).with_context(|| format!("cannot link {}", link.display()))
}

impl Drop for Source {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
