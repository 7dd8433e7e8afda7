//! S3 and what speaks its protocol: an HTTP source whose requests are signed (AWS Signature Version 4).

mod checksum;
mod credentials;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use object_store::aws::AwsAuthorizer;
use object_store::client::{HttpRequest, HttpRequestBody};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;
use vmdisk_wire::Source as Spec;

use self::checksum::Checksum;
use self::credentials::Credentials;
use super::single::SingleObject;
use super::{Resolved, Secret, Source, parse_url};
use crate::failure::{Failure, Reason, Result};
use crate::http::{Anonymous, Authorize, Client};

/// The region of buckets that say nothing, AWS's own default.
const DEFAULT_REGION: &str = "us-east-1";

/// What `SigV4` leaves as it is in a path (RFC 3986 unreserved characters and the slash).
const KEY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

const REGION: [&str; 3] = ["region", "AWS_REGION", "AWS_DEFAULT_REGION"];
const ENDPOINT: [&str; 3] = ["endpoint", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];

/// The object in a bucket.
pub(super) fn open(spec: &Spec, client: &Client, secret: &Secret) -> Result<S3Object> {
    let named = parse_url(&spec.url, &["s3", "https", "http"])?;
    client.policy().check_url(&named)?;
    let settings = Settings::new(secret, |name| std::env::var(name).ok());
    let (url, own_endpoint) = address(&named, spec.region.as_deref(), &settings)?;
    if own_endpoint {
        // The entry s3://bucket allows the bucket at AWS, not whatever server a Secret names.
        client.policy().check_url(&url)?;
    }
    let region = region(&url, spec.region.as_deref(), &settings);
    let presigned = url.query_pairs().any(|(name, _)| name.eq_ignore_ascii_case("X-Amz-Signature"));
    let authorize: Arc<dyn Authorize> = match Credentials::choose(secret, &settings, client, &region)? {
        Some(credentials) if !presigned => Arc::new(Signed { credentials, region: Mutex::new(region) }),
        // A presigned URL carries its signature with it.
        _ => Arc::new(Anonymous),
    };
    Ok(S3Object { object: SingleObject::new(spec, client, url, authorize)?, presigned })
}

/// An object in a bucket.
pub(super) struct S3Object {
    object: SingleObject,
    presigned: bool,
}

#[async_trait]
impl Source for S3Object {
    /// Asks for the object's checksum, which S3 gives for the whole object only. That is the request's one use: without
    /// an answer, the GET tells what is wrong. A presigned URL is signed for GET alone.
    async fn resolve(&self) -> Result<Resolved> {
        let mut single = self.object.clone();
        let mut recorded = None;
        if !self.presigned {
            let wish = HeaderMap::from_iter([(checksum::MODE, HeaderValue::from_static("ENABLED"))]);
            match single.blob.object.head(wish).await {
                Ok(headers) => {
                    single.blob.object.learn(&headers);
                    recorded = Checksum::of(&headers);
                }
                Err(failure) => tracing::debug!(%failure, "no checksum is known"),
            }
        }
        single.blob.expectations.extend(recorded.as_ref().and_then(Checksum::expectation));
        Ok(Resolved { checksum: recorded.map(|checksum| checksum.to_string()), ..single.resolve().await? })
    }
}

/// What Secret and environment say; the Secret first.
struct Settings {
    region: Option<String>,
    endpoint: Option<String>,
    /// The keys of the environment.
    keys: Option<[String; 2]>,
    session: Option<String>,
    /// The role of the pod's identity, and the file of its token.
    identity: Option<[String; 2]>,
    /// The token service that exchanges it.
    sts: Option<String>,
}

impl Settings {
    fn new(secret: &Secret, environment: impl Fn(&str) -> Option<String>) -> Self {
        let either = |keys: &[&str]| {
            let from_environment =
                || keys.iter().filter(|key| key.starts_with("AWS_")).find_map(|key| environment(key));
            secret.get(keys).map(str::to_owned).or_else(from_environment)
        };
        let both = |first, second| Some([environment(first)?, environment(second)?]);
        Self {
            region: either(&REGION),
            endpoint: either(&ENDPOINT),
            keys: both("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
            session: environment("AWS_SESSION_TOKEN"),
            identity: both("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"),
            sts: environment("AWS_ENDPOINT_URL_STS"),
        }
    }
}

/// The URL of the object, and whether it lies at an endpoint that Secret or environment name.
fn address(named: &Url, region: Option<&str>, settings: &Settings) -> Result<(Url, bool)> {
    if named.scheme() != "s3" {
        return Ok((with_path(named.clone(), named.path()), false));
    }
    let bucket = named.host_str().unwrap_or_default();
    let path = format!("/{bucket}{}", named.path());
    if named.path().len() < 2 {
        return Err(Failure::new(Reason::InvalidUrl, "the url names no object; expected s3://bucket/key"));
    }
    if let Some(endpoint) = &settings.endpoint {
        let endpoint = parse_url(endpoint, &["https", "http"])?;
        let base = endpoint.path().trim_end_matches('/').to_owned();
        return Ok((with_path(endpoint, &format!("{base}{path}")), true));
    }
    let region = region.or(settings.region.as_deref()).unwrap_or(DEFAULT_REGION);
    let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
    // Path style: TLS certificates cover no bucket whose name has dots.
    let endpoint = parse_url(&format!("https://s3.{region}.amazonaws.com{suffix}"), &["https"])?;
    Ok((with_path(endpoint, &path), false))
}

/// The URL with its path encoded as the signature needs it: what is sent must be what was signed.
fn with_path(mut url: Url, path: &str) -> Url {
    let plain: Vec<u8> = percent_decode_str(path).collect();
    url.set_path(&percent_encode(&plain, KEY).to_string());
    url
}

/// The region to sign for: what the host says, then what the user says.
fn region(url: &Url, region: Option<&str>, settings: &Settings) -> String {
    let host = url.host_str().unwrap_or_default();
    let from_host = host.split_once(".amazonaws.com").and_then(|(labels, _)| {
        // [bucket.]s3[.dualstack].REGION, or [bucket.]s3-REGION as of old.
        let mut labels = labels.rsplit('.');
        let last = labels.next()?;
        match last.strip_prefix("s3-") {
            Some(region) => Some(region),
            None if last == "s3" => None,
            None => Some(last),
        }
    });
    from_host.or(region).or(settings.region.as_deref()).unwrap_or(DEFAULT_REGION).to_owned()
}

/// Whether it can be the name of a region: those of others than AWS are as short.
fn is_region(name: &str) -> bool {
    (1..=63).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Signs requests.
struct Signed {
    credentials: Credentials,
    region: Mutex<String>,
}

impl Signed {
    fn region(&self) -> String {
        self.region.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Authorize for Signed {
    async fn authorize(&self, request: &mut reqwest::Request) -> Result<()> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(Reason::Internal, format!("failed to sign the request: {error}"))
        };
        // Host and x-amz-* headers are all that must be signed; a proxy may touch the others.
        let mut signed = HttpRequest::new(HttpRequestBody::empty());
        *signed.method_mut() = request.method().clone();
        let service = |name: &HeaderName| name.as_str().starts_with("x-amz-");
        let headers = request.headers().iter().filter(|(name, _)| service(name));
        signed.headers_mut().extend(headers.map(|(name, value)| (name.clone(), value.clone())));
        *signed.uri_mut() = request.url().as_str().parse().map_err(|error| failed(&error))?;
        let region = self.region();
        let credential = self.credentials.current().await?;
        AwsAuthorizer::new(&credential, "s3", &region)
            .try_authorize(&mut signed, None)
            .map_err(|error| failed(&error))?;
        for (name, value) in signed.headers() {
            request.headers_mut().insert(name, value.clone());
        }
        Ok(())
    }

    /// S3 names the bucket's region when the signature is for another one.
    async fn refused(&self, headers: &HeaderMap, _asked: Instant) -> Result<bool> {
        let Some(region) = headers.get("x-amz-bucket-region").and_then(|value| value.to_str().ok()) else {
            return Ok(false);
        };
        // It becomes a part of what is signed.
        if !is_region(region) {
            return Ok(false);
        }
        let mut known = self.region.lock().unwrap_or_else(PoisonError::into_inner);
        let other = *known != region;
        region.clone_into(&mut known);
        Ok(other)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
