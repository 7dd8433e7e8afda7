//! One request: counted, held or refused as a fault says, and answered by files or by the server behind the relay.

use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::body::{Open, shape};
use super::count::{Counts, Seen};
use super::fault::{Auth, Fault, Faults};
use super::files::{self, status};
use super::proxy::Proxy;

/// Where a server's answers come from.
#[derive(Clone)]
pub(crate) enum Source {
    /// Files below a directory.
    Files(PathBuf),
    /// Another server.
    Proxy(Box<Proxy>),
}

/// One server that is counted and can fail.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) source: Source,
    /// Credentials that every request needs.
    pub(crate) auth: Option<Auth>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) counts: Arc<Counts>,
}

impl Server {
    pub(crate) fn new(source: Source, auth: Option<Auth>) -> Self {
        Self { source, auth, faults: Arc::default(), counts: Arc::default() }
    }

    /// Answers one request.
    pub(crate) async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let entry = self.counts.arrive(&path, seen(&request));
        let open = Open { counts: Arc::clone(&self.counts), entry };
        let mut met = self.faults.meet(&path);
        met.fault.auth = met.fault.auth.or_else(|| self.auth.clone());
        if met.fault.hold {
            open.held(&met).await;
        }
        let mut response = match refusal(&met.fault, request.headers()) {
            Some(refusal) => refusal,
            None => match &self.source {
                Source::Files(root) => files::answer(root, &request.into_parts().0, &met.fault).await,
                Source::Proxy(proxy) => proxy.answer(request).await,
            },
        };
        let span = span(response.headers());
        decorate(&mut response, &met.fault, span);
        self.counts.status(&open.entry, response.status().as_u16());
        response.map(|body| shape(body, span, open, met))
    }
}

fn seen(request: &Request<Body>) -> Seen {
    let text =
        |name| request.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::to_owned);
    Seen {
        method: request.method().to_string(),
        range: text(header::RANGE),
        precondition: text(header::IF_MATCH).or_else(|| text(header::IF_RANGE)),
        host: request.uri().authority().map(ToString::to_string).or_else(|| text(header::HOST)).unwrap_or_default(),
        authorized: request.headers().contains_key(header::AUTHORIZATION),
        ..Seen::default()
    }
}

/// The answer in place of the real one, when the fault wants one.
fn refusal(fault: &Fault, headers: &HeaderMap) -> Option<Response<Body>> {
    if let Some(challenge) = fault.auth.as_ref().and_then(|auth| challenge(auth, headers)) {
        let mut response = status(StatusCode::UNAUTHORIZED);
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        return Some(response);
    }
    let code = fault.status.and_then(|code| StatusCode::from_u16(code).ok());
    if let Some(location) = fault.redirect.as_ref().and_then(|url| HeaderValue::from_str(url).ok()) {
        let mut response = status(code.filter(StatusCode::is_redirection).unwrap_or(StatusCode::FOUND));
        response.headers_mut().insert(header::LOCATION, location);
        return Some(response);
    }
    code.map(status)
}

/// Where an answer's body begins and ends in the file.
fn span(headers: &HeaderMap) -> (u64, u64) {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let first = text(header::CONTENT_RANGE)
        .and_then(|range| range.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok())
        .unwrap_or(0);
    let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    (first, length.map_or(u64::MAX, |length| first + length))
}

/// What to ask for, when the request does not carry the right credentials.
fn challenge(auth: &Auth, headers: &HeaderMap) -> Option<HeaderValue> {
    let (wanted, scheme, realm) = match auth {
        Auth::Basic { username, password } => {
            (format!("Basic {}", BASE64_STANDARD.encode(format!("{username}:{password}"))), "Basic", "vmdisk")
        }
        Auth::Bearer(token) => (format!("Bearer {token}"), "Bearer", "vmdisk"),
        Auth::Token { token, realm } => (format!("Bearer {token}"), "Bearer", realm.as_str()),
    };
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let challenge = HeaderValue::from_str(&format!("{scheme} realm=\"{realm}\""));
    (given != Some(wanted.as_str())).then(|| challenge.unwrap_or(HeaderValue::from_static("Bearer")))
}

/// What a fault changes about an answer's headers.
fn decorate(response: &mut Response<Body>, fault: &Fault, (first, last): (u64, u64)) {
    let headers = response.headers_mut();
    if let Some(after) = fault.retry_after.as_ref().and_then(|after| HeaderValue::from_str(after).ok()) {
        headers.insert(header::RETRY_AFTER, after);
    }
    if let Some(end) = fault.truncate_at.filter(|end| (first..last).contains(end)) {
        headers.insert(header::CONTENT_LENGTH, (end - first).into());
    }
    if fault.no_length {
        headers.remove(header::CONTENT_LENGTH);
    }
}

#[cfg(test)]
#[path = "handler_tests.rs"]
mod tests;
