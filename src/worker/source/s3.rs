//! S3 and what speaks its protocol: an HTTP source whose requests are signed (AWS Signature Version 4).

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpRequest, HttpRequestBody};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use reqwest::header::{HeaderMap, HeaderValue};
use url::Url;
use vmdisk_wire::Source as Spec;

use super::{Blob, Resolved, Secret, Source, checksum, parse_url};
use crate::digest::Expectation;
use crate::failure::{Failure, Reason, Result};
use crate::http::{Anonymous, Authorize, Client, Identity, Object};
use crate::unpack::Container;

/// The region of buckets that say nothing, AWS's own default.
const DEFAULT_REGION: &str = "us-east-1";

/// What `SigV4` leaves as it is in a path (RFC 3986 unreserved characters and the slash).
const KEY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

const ACCESS_KEY: [&str; 2] = ["accessKeyId", "AWS_ACCESS_KEY_ID"];
const SECRET_KEY: [&str; 3] = ["secretKey", "secretAccessKey", "AWS_SECRET_ACCESS_KEY"];
const SESSION_TOKEN: [&str; 2] = ["sessionToken", "AWS_SESSION_TOKEN"];
const REGION: [&str; 3] = ["region", "AWS_REGION", "AWS_DEFAULT_REGION"];
const ENDPOINT: [&str; 3] = ["endpoint", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];

/// An object in a bucket.
pub(super) struct S3Source {
    object: Object,
    expectations: Vec<Expectation>,
    path: Option<String>,
}

impl S3Source {
    pub(super) fn new(spec: &Spec, client: &Client, secret: &Secret) -> Result<Self> {
        let named = parse_url(&spec.url, &["s3", "https", "http"])?;
        client.policy().check_url(&named)?;
        let settings = Settings::new(secret, |name| std::env::var(name).ok());
        let (url, own_endpoint) = address(&named, spec.region.as_deref(), &settings)?;
        if own_endpoint {
            // The entry s3://bucket allows the bucket at AWS, not whatever server a Secret names.
            client.policy().check_url(&url)?;
        }
        let authorize: Arc<dyn Authorize> = match settings.credential(secret)? {
            // A presigned URL carries its signature with it.
            _ if url.query_pairs().any(|(name, _)| name.eq_ignore_ascii_case("X-Amz-Signature")) => Arc::new(Anonymous),
            Some(credential) => {
                let region = region(&url, spec.region.as_deref(), &settings);
                Arc::new(Signed { credential, region: Mutex::new(region) })
            }
            None => Arc::new(Anonymous),
        };
        Ok(Self {
            object: Object {
                client: client.clone(),
                implied: url.origin(),
                url,
                headers: HeaderMap::new(),
                authorize,
                identity: spec.pinned.clone().map_or(Identity::Unknown, Identity::Tag),
                size: None,
                ranges: true,
            },
            expectations: checksum(spec)?.into_iter().collect(),
            path: spec.path.clone(),
        })
    }
}

#[async_trait]
impl Source for S3Source {
    async fn resolve(&self) -> Result<Resolved> {
        Ok(Resolved {
            digest: None,
            blobs: vec![Blob { object: self.object.clone(), expectations: self.expectations.clone() }],
            container: Container::Plain,
            path: self.path.clone(),
        })
    }
}

/// What Secret and environment say; the Secret first.
struct Settings {
    region: Option<String>,
    endpoint: Option<String>,
    environment: Option<[String; 2]>,
    session: Option<String>,
}

impl Settings {
    fn new(secret: &Secret, environment: impl Fn(&str) -> Option<String>) -> Self {
        let either = |keys: &[&str]| {
            let from_environment =
                || keys.iter().filter(|key| key.starts_with("AWS_")).find_map(|key| environment(key));
            secret.get(keys).map(str::to_owned).or_else(from_environment)
        };
        Self {
            region: either(&REGION),
            endpoint: either(&ENDPOINT),
            environment: environment("AWS_ACCESS_KEY_ID")
                .zip(environment("AWS_SECRET_ACCESS_KEY"))
                .map(|(key, secret)| [key, secret]),
            session: environment("AWS_SESSION_TOKEN"),
        }
    }

    fn credential(&self, secret: &Secret) -> Result<Option<AwsCredential>> {
        if let Some((key_id, secret_key)) = secret.pair(&ACCESS_KEY, &SECRET_KEY)? {
            return credential(key_id, secret_key, secret.get(&SESSION_TOKEN)).map(Some);
        }
        if let Some([key_id, secret_key]) = &self.environment {
            return credential(key_id, secret_key, self.session.as_deref()).map(Some);
        }
        if secret.is_empty() {
            return Ok(None);
        }
        Err(Failure::new(
            Reason::InvalidSecret,
            "the Secret of an S3 source needs the keys accessKeyId and secretKey, \
             or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ))
    }
}

fn credential(key_id: &str, secret_key: &str, token: Option<&str>) -> Result<AwsCredential> {
    // These two travel in headers.
    if [Some(key_id), token].into_iter().flatten().any(|value| HeaderValue::from_str(value).is_err()) {
        return Err(Failure::new(
            Reason::InvalidSecret,
            "the S3 access key or session token holds characters that no HTTP header may hold",
        ));
    }
    Ok(AwsCredential { key_id: key_id.to_owned(), secret_key: secret_key.to_owned(), token: token.map(str::to_owned) })
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

/// Signs requests.
struct Signed {
    credential: AwsCredential,
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
        *signed.uri_mut() = request.url().as_str().parse().map_err(|error| failed(&error))?;
        let region = self.region();
        AwsAuthorizer::new(&self.credential, "s3", &region)
            .try_authorize(&mut signed, None)
            .map_err(|error| failed(&error))?;
        for (name, value) in signed.headers() {
            request.headers_mut().insert(name, value.clone());
        }
        Ok(())
    }

    /// S3 names the bucket's region when the signature is for another one.
    async fn refused(&self, headers: &HeaderMap) -> Result<bool> {
        let Some(region) = headers.get("x-amz-bucket-region").and_then(|value| value.to_str().ok()) else {
            return Ok(false);
        };
        let mut known = self.region.lock().unwrap_or_else(PoisonError::into_inner);
        let other = *known != region;
        region.clone_into(&mut known);
        Ok(other)
    }
}

#[cfg(test)]
#[path = "s3_tests.rs"]
mod tests;
