//! Objects on the S3 server.

use anyhow::{Context as _, Result};
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpRequest, HttpRequestBody};

use super::bed;

/// The region that the server calls its own.
pub const REGION: &str = "us-east-1";

/// Puts an object; the bucket is made when it is missing.
///
/// # Errors
/// When the server refuses it.
pub async fn put(bucket: &str, key: &str, contents: Vec<u8>) -> Result<()> {
    let endpoint = bed::variable("S3_ENDPOINT")?;
    let endpoint = endpoint.trim_end_matches('/');
    let ca = std::fs::read(bed::path("CA_FILE")?).context("cannot read CA_FILE")?;
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([reqwest::Certificate::from_pem(&ca).context("CA_FILE holds no certificate")?])
        .build()?;
    // A bucket that is there already is ours, and the server says so without an error or with a conflict.
    let made = send(&client, &format!("{endpoint}/{bucket}"), Vec::new()).await?;
    if made != reqwest::StatusCode::CONFLICT {
        anyhow::ensure!(made.is_success(), "cannot make the bucket {bucket}: {made}");
    }
    let stored = send(&client, &format!("{endpoint}/{bucket}/{key}"), contents).await?;
    anyhow::ensure!(stored.is_success(), "cannot put s3://{bucket}/{key}: {stored}");
    Ok(())
}

async fn send(client: &reqwest::Client, url: &str, contents: Vec<u8>) -> Result<reqwest::StatusCode> {
    let credential = AwsCredential {
        key_id: bed::variable("S3_ACCESS_KEY")?,
        secret_key: bed::variable("S3_SECRET_KEY")?,
        token: None,
    };
    let mut request = client.put(url).body(contents.clone()).build()?;
    let mut signed = HttpRequest::new(HttpRequestBody::from(contents));
    *signed.method_mut() = request.method().clone();
    *signed.uri_mut() = url.parse()?;
    AwsAuthorizer::new(&credential, "s3", REGION).try_authorize(&mut signed, None)?;
    for (name, value) in signed.headers() {
        request.headers_mut().insert(name, value.clone());
    }
    Ok(client.execute(request).await.with_context(|| format!("no answer to PUT {url}"))?.status())
}
