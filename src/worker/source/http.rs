//! HTTP and HTTPS: one URL, one blob.

use std::sync::Arc;

use async_trait::async_trait;
use reqwest::header::HeaderMap;
use url::Url;
use vmdisk_wire::Source as Spec;

use super::{Blob, Resolved, Secret, Source, checksum, parse_url};
use crate::digest::Expectation;
use crate::failure::{Failure, Reason, Result};
use crate::http::{Anonymous, Authorize, Basic, Bearer, Client, Identity, Object};
use crate::unpack::Container;

/// An image at a URL.
pub(super) struct HttpSource {
    object: Object,
    expectations: Vec<Expectation>,
    path: Option<String>,
}

impl HttpSource {
    pub(super) fn new(spec: &Spec, client: &Client, secret: &Secret) -> Result<Self> {
        let mut url = parse_url(&spec.url, &["https", "http"])?;
        client.policy().check_url(&url)?;
        let authorize = credentials(&mut url, secret)?;
        Ok(Self {
            object: Object {
                client: client.clone(),
                implied: url.origin(),
                url,
                headers: HeaderMap::new(),
                authorize,
                // Sent as If-Match, so that a pinned attempt gets the same bytes or none.
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
impl Source for HttpSource {
    async fn resolve(&self) -> Result<Resolved> {
        // A request of its own would only delay: presigned URLs refuse HEAD, and the GET tells size and ETag as well.
        Ok(Resolved {
            digest: None,
            blobs: vec![Blob {
                object: self.object.clone(),
                expectations: self.expectations.clone(),
                not_the_disk: None,
            }],
            container: Container::Plain,
            path: self.path.clone(),
        })
    }
}

/// The credentials of the Secret, or those in the URL, which are taken out of it.
fn credentials(url: &mut Url, secret: &Secret) -> Result<Arc<dyn Authorize>> {
    let in_url = (!url.username().is_empty())
        .then(|| Basic::new(&decoded(url.username()), &decoded(url.password().unwrap_or_default())));
    // An HTTP URL can always do without userinfo.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    if let Some(token) = secret.get(&["token"]) {
        return Ok(Arc::new(Bearer::new(token)?));
    }
    if let Some((username, password)) = secret.basic()? {
        return Ok(Arc::new(Basic::new(username, password)));
    }
    match in_url {
        Some(basic) => Ok(Arc::new(basic)),
        None if secret.is_empty() => Ok(Arc::new(Anonymous)),
        None => Err(Failure::new(
            Reason::InvalidSecret,
            "the Secret of an HTTP source needs the keys username and password, or token",
        )),
    }
}

/// Percent-decodes userinfo.
fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}
