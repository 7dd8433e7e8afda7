//! What a status code means for the attempt.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use url::Url;

use crate::failure::{Failure, Reason};
use crate::redact::redacted;
use crate::shown::{sentence, shown};

/// More of an error document than this is not read.
const MAX_DETAIL: usize = 4096;

/// The longest wish for a pause that is passed on. The controller's own bound is shorter, and no clock overflows by it.
const LONGEST_WISH: Duration = Duration::from_hours(24 * 7);

/// How long an error document is waited for.
const DETAIL_PATIENCE: Duration = Duration::from_secs(10);

/// The failure that an answer other than success stands for, with what its body says of the cause.
pub async fn refusal(url: &Url, mut response: Response) -> Failure {
    let status = response.status();
    let retry_after = retry_after(response.headers());
    let region = response.headers().get("x-amz-bucket-region").and_then(|value| value.to_str().ok());
    let region = region.map_or(String::new(), |region| format!("; the bucket lies in the region {}", shown(region)));
    let mut body = Vec::new();
    let read = async {
        while let (true, Ok(Some(chunk))) = (body.len() < MAX_DETAIL, response.chunk().await) {
            body.extend_from_slice(&chunk);
        }
    };
    // The status says enough; a detail that does not come is done without.
    let _ = tokio::time::timeout(DETAIL_PATIENCE, read).await;
    body.truncate(MAX_DETAIL);
    let reason = reason(status, &String::from_utf8_lossy(&body));
    let detail =
        detail(&String::from_utf8_lossy(&body)).map_or(String::new(), |text| format!(" ({})", sentence(&text)));
    let mut failure =
        Failure::new(reason, format!("{} answered {status}{detail}{region}{}", redacted(url), advice(reason)));
    failure.retry_after = retry_after.map(|wish| wish.min(LONGEST_WISH));
    failure
}

fn reason(status: StatusCode, body: &str) -> Reason {
    match status.as_u16() {
        // S3 answers 400 where others answer 401.
        400 if body.contains("<Code>ExpiredToken") || body.contains("<Code>InvalidToken") => Reason::Unauthorized,
        401 | 403 | 407 => Reason::Unauthorized,
        404 | 410 => Reason::NotFound,
        412 | 416 => Reason::SourceChanged,
        429 => Reason::Throttled,
        503 if body.contains("<Code>SlowDown") => Reason::Throttled,
        408 | 425 | 500..=599 => Reason::ServerError,
        _ => Reason::BadResponse,
    }
}

fn advice(reason: Reason) -> &'static str {
    match reason {
        Reason::Unauthorized => "; check secretRef and what its credentials may read",
        Reason::NotFound => "; check the URL, or upload the image: it is looked for again",
        _ => "",
    }
}

/// Whether the same request may succeed a little later.
pub(super) fn passing(reason: Reason) -> bool {
    matches!(reason, Reason::Connection | Reason::ServerError | Reason::Throttled)
}

/// Code and message of an S3 (XML) or registry (JSON) error document; nothing else of it, since S3 repeats what was
/// signed.
fn detail(body: &str) -> Option<String> {
    if let Some(code) = element(body, "Code") {
        return Some(element(body, "Message").map_or(code.clone(), |message| format!("{code}: {message}")));
    }
    let document: serde_json::Value = serde_json::from_str(body).ok()?;
    let error = document.get("errors")?.get(0)?;
    let field = |name: &str| error.get(name).and_then(serde_json::Value::as_str);
    match (field("code"), field("message")) {
        (Some(code), Some(message)) => Some(format!("{code}: {message}")),
        (code, message) => code.or(message).map(str::to_owned),
    }
}

/// The text of the first element of this name in an XML document of AWS, which has neither attributes nor mixed content.
/// Its entities are decoded, and left as they are where one is unknown.
#[must_use]
pub fn element(document: &str, name: &str) -> Option<String> {
    let (_, rest) = document.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once("</")?;
    Some(quick_xml::escape::unescape(text).map_or_else(|_| text.to_owned(), Cow::into_owned))
}

/// `Retry-After` in seconds or as a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    SystemTime::from(date.timestamp()).duration_since(SystemTime::now()).ok()
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
