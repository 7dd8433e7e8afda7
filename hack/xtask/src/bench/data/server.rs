//! The source's servers: files over HTTP/1.1, by `sendfile`, a thread for each connection. As lean as a server can be,
//! so that what is measured is not the server; HTTP, a registry and S3 are the same to it, because what the worker
//! and its rivals ask of them are files:
//!
//! | path | file below the root |
//! |---|---|
//! | `/files/NAME`, `/bucket/NAME` | the same |
//! | `/v2/bench/NAME/manifests/latest` | the same |
//! | `/v2/bench/NAME/blobs/sha256:DIGITS` | `/v2/bench/NAME/blobs/sha256/DIGITS` |
//! | a directory | 200 and nothing: that is how a registry says that it is one |

use std::fs::File;
use std::io::{self, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::thread;
use std::time::UNIX_EPOCH;

use rustix::fs::sendfile;
use vmdisk_e2e::servers::range::Range;

/// Serves for as long as the process lives.
pub(super) fn serve(listener: &TcpListener, root: &Path) {
    for connection in listener.incoming().flatten() {
        let root = root.to_owned();
        // A client that hangs up ends its connection, and nothing else.
        thread::spawn(move || drop(converse(&connection, &root)));
    }
}

fn converse(connection: &TcpStream, root: &Path) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut reader = BufReader::new(connection);
    while let Some(request) = Request::read(&mut reader)? {
        answer(connection, root, &request)?;
    }
    Ok(())
}

/// What matters of a request.
#[derive(Debug, Default, PartialEq, Eq)]
struct Request {
    method: String,
    path: String,
    range: Option<String>,
    if_match: Option<String>,
}

impl Request {
    /// The next request of a connection; `None` when there is none.
    fn read(reader: &mut impl io::BufRead) -> io::Result<Option<Self>> {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let mut request = Self {
            method: words.next().unwrap_or_default(),
            path: words.next().unwrap_or_default(),
            ..Self::default()
        };
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let Some((name, value)) = line.trim_end().split_once(':') else {
                return Ok(Some(request));
            };
            let value = Some(value.trim().to_owned());
            match name.to_ascii_lowercase().as_str() {
                "range" => request.range = value,
                "if-match" => request.if_match = value,
                _ => {}
            }
        }
    }
}

fn answer(mut connection: &TcpStream, root: &Path, request: &Request) -> io::Result<()> {
    let opened = locate(root, &request.path).and_then(|path| File::open(path).ok());
    let Some((file, metadata)) = opened.and_then(|file| file.metadata().ok().map(|metadata| (file, metadata))) else {
        return connection.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    };
    if metadata.is_dir() {
        return connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }
    let length = metadata.len();
    let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let etag = format!("\"{modified:x}-{length:x}\"");
    if request.if_match.as_ref().is_some_and(|wanted| *wanted != etag) {
        return connection.write_all(b"HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n");
    }
    let (status, first, count, extra) =
        match request.range.as_ref().map_or(Range::Whole, |range| Range::parse(range, length)) {
            Range::Whole => ("200 OK", 0, length, String::new()),
            Range::Part { first, last } => (
                "206 Partial Content",
                first,
                last - first + 1,
                format!("Content-Range: bytes {first}-{last}/{length}\r\n"),
            ),
            Range::Unsatisfiable => ("416 Range Not Satisfiable", 0, 0, format!("Content-Range: bytes */{length}\r\n")),
        };
    let kind = if request.path.contains("/manifests/") {
        "application/vnd.oci.image.manifest.v1+json"
    } else {
        "application/octet-stream"
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {count}\r\nContent-Type: {kind}\r\nETag: {etag}\r\n\
         Accept-Ranges: bytes\r\n{extra}\r\n"
    );
    connection.write_all(head.as_bytes())?;
    if request.method == "HEAD" { Ok(()) } else { send(connection, &file, first, count) }
}

fn send(connection: &TcpStream, file: &File, first: u64, count: u64) -> io::Result<()> {
    let (mut offset, end) = (first, first + count);
    while offset < end {
        let most = usize::try_from(end - offset).unwrap_or(usize::MAX).min(1 << 30);
        if sendfile(connection, file, Some(&mut offset), most)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// The file that a path names; `None` when it leaves the root.
fn locate(root: &Path, path: &str) -> Option<PathBuf> {
    let path = path.split('?').next().unwrap_or_default().replace(':', "/");
    let relative = PathBuf::from(path.trim_start_matches('/'));
    relative.components().all(|part| matches!(part, Component::Normal(_))).then(|| root.join(relative))
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
