//! What HTTP and S3 have in common: one URL, one blob.

use std::sync::Arc;

use async_trait::async_trait;
use url::Url;
use vmdisk_wire::Source as Spec;

use super::{Blob, Resolved, Source, checksum};
use crate::failure::Result;
use crate::http::{Authorize, Client, Identity, Object};
use crate::unpack::Container;

/// An image that is one object at one URL.
#[derive(Clone)]
pub(super) struct SingleObject {
    pub(super) blob: Blob,
    path: Option<String>,
}

impl SingleObject {
    /// The object at `url`, with the credentials for it.
    pub(super) fn new(spec: &Spec, client: &Client, url: Url, authorize: Arc<dyn Authorize>) -> Result<Self> {
        let origin = url.origin();
        let mut object = Object::new(client.clone(), url, authorize, origin);
        // Sent as If-Match, so that a pinned attempt gets the same bytes or none.
        object.identity = spec.pinned.clone().map_or(Identity::Unknown, Identity::Tag);
        let expectations = checksum(spec)?.into_iter().collect();
        Ok(Self { blob: Blob::new(object, expectations), path: spec.path.clone() })
    }
}

#[async_trait]
impl Source for SingleObject {
    async fn resolve(&self) -> Result<Resolved> {
        // A request of its own would only delay: presigned URLs refuse HEAD, and the GET tells size and ETag as well.
        Ok(Resolved {
            digest: None,
            checksum: None,
            blobs: vec![self.blob.clone()],
            container: Container::Plain,
            path: self.path.clone(),
        })
    }
}
