//! HTTP and HTTPS: one URL, one blob.

use std::sync::Arc;

use url::Url;
use vmdisk_wire::Source as Spec;

use super::single::SingleObject;
use super::{Secret, parse_url};
use crate::failure::{Failure, Reason, Result};
use crate::http::{Anonymous, Authorize, Basic, Bearer, Client};

/// The image at a URL.
pub(super) fn open(spec: &Spec, client: &Client, secret: &Secret) -> Result<SingleObject> {
    let mut url = parse_url(&spec.url, &["https", "http"])?;
    client.policy().check_url(&url)?;
    let authorize = credentials(&mut url, secret)?;
    SingleObject::new(spec, client, url, authorize)
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
