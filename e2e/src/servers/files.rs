//! Files of one directory over HTTP, with validators and ranges.

use std::path::{Component, Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Response, StatusCode, header};
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::fault::Fault;
use super::range::Range;

/// Large enough that the file system's calls do not count.
const CHUNK: usize = 256 << 10;

/// What identifies one version of a file.
struct Validators {
    etag: String,
    modified: SystemTime,
}

/// Answers one request from the files below `root`.
pub(crate) async fn answer(root: &Path, request: &Parts, fault: &Fault) -> Response<Body> {
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return status(StatusCode::METHOD_NOT_ALLOWED);
    }
    let Some(path) = locate(root, request.uri.path()) else {
        return status(StatusCode::BAD_REQUEST);
    };
    match open(&path, request, fault).await {
        Ok(response) => response,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => status(StatusCode::NOT_FOUND),
        Err(_) => status(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// The file that a URL path names; `None` when it leaves the root.
fn locate(root: &Path, path: &str) -> Option<PathBuf> {
    let decoded = percent_decode_str(path).decode_utf8().ok()?;
    let relative = Path::new(decoded.trim_start_matches('/'));
    relative.components().all(|part| matches!(part, Component::Normal(_))).then(|| root.join(relative))
}

async fn open(path: &Path, request: &Parts, fault: &Fault) -> std::io::Result<Response<Body>> {
    let mut file = tokio::fs::File::open(path).await?;
    let metadata = file.metadata().await?;
    if !metadata.is_file() {
        return Ok(status(StatusCode::NOT_FOUND));
    }
    let length = metadata.len();
    let validators = validators(metadata.modified()?, length, fault.changing_etag);
    let headers = &request.headers;
    if header(headers, header::IF_MATCH).is_some_and(|wanted| !matches(wanted, &validators.etag)) {
        return Ok(status(StatusCode::PRECONDITION_FAILED));
    }
    if header(headers, header::IF_NONE_MATCH).is_some_and(|known| matches(known, &validators.etag)) {
        return Ok(status(StatusCode::NOT_MODIFIED));
    }
    let range = match header(headers, header::RANGE) {
        Some(range) if !fault.no_ranges && same_version(headers, &validators) => Range::parse(range, length),
        _ => Range::Whole,
    };

    let mut response = Response::builder();
    if !fault.no_ranges {
        response = response.header(header::ACCEPT_RANGES, "bytes");
    }
    if !fault.no_validators {
        response = response
            .header(header::ETAG, &validators.etag)
            .header(header::LAST_MODIFIED, httpdate::fmt_http_date(validators.modified));
    }
    let (code, first, count) = match range {
        Range::Whole => (StatusCode::OK, 0, length),
        Range::Part { first, last } => {
            response = response.header(header::CONTENT_RANGE, format!("bytes {first}-{last}/{length}"));
            (StatusCode::PARTIAL_CONTENT, first, last - first + 1)
        }
        Range::Unsatisfiable => {
            let response = response.header(header::CONTENT_RANGE, format!("bytes */{length}"));
            let response = response.status(StatusCode::RANGE_NOT_SATISFIABLE).body(Body::empty());
            return response.map_err(std::io::Error::other);
        }
    };
    response = response.status(code).header(header::CONTENT_TYPE, "application/octet-stream");
    if !fault.no_length {
        response = response.header(header::CONTENT_LENGTH, count);
    }
    let body = if request.method == Method::HEAD {
        Body::empty()
    } else {
        file.seek(std::io::SeekFrom::Start(first)).await?;
        Body::from_stream(ReaderStream::with_capacity(file.take(count), CHUNK))
    };
    response.body(body).map_err(std::io::Error::other)
}

fn validators(modified: SystemTime, length: u64, changing: bool) -> Validators {
    let nanos = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let modified = if changing { SystemTime::now() } else { modified };
    Validators { etag: format!("\"{:x}-{length:x}\"", nanos(modified)), modified }
}

/// Whether a range may be answered with a part: without `If-Range`, or when that names the version at hand.
fn same_version(headers: &HeaderMap, validators: &Validators) -> bool {
    match header(headers, header::IF_RANGE) {
        None => true,
        Some(value) if value.starts_with('"') => value == validators.etag,
        Some(value) => value == httpdate::fmt_http_date(validators.modified),
    }
}

fn matches(list: &str, etag: &str) -> bool {
    list.split(',').map(str::trim).any(|candidate| candidate == "*" || candidate == etag)
}

fn header(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// An answer without a body.
pub(crate) fn status(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = code;
    response
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
