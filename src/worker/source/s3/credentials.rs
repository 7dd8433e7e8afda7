//! Whose keys sign: those of the Secret, those of the environment, or those that a cloud identity is exchanged for.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use object_store::aws::AwsCredential;
use reqwest::Method;
use reqwest::header::HeaderValue;
use tokio::sync::Mutex;
use url::{Url, form_urlencoded};

use super::Settings;
use crate::failure::{Failure, Reason, Result};
use crate::http::{Anonymous, Client, Request, element, refusal};
use crate::shown::sentence;
use crate::source::Secret;

const ACCESS_KEY: [&str; 2] = ["accessKeyId", "AWS_ACCESS_KEY_ID"];
const SECRET_KEY: [&str; 3] = ["secretKey", "secretAccessKey", "AWS_SECRET_ACCESS_KEY"];
const SESSION_TOKEN: [&str; 2] = ["sessionToken", "AWS_SESSION_TOKEN"];

/// Keys are fetched anew when they are valid for less than this: a request that is under way must still be.
const MARGIN: SignedDuration = SignedDuration::from_mins(5);

/// The answer of the token service is a few kilobytes.
const MAX_ANSWER: usize = 64 * 1024;

/// Where keys come from.
pub(super) enum Credentials {
    /// They are known and stay.
    Fixed(Arc<AwsCredential>),
    /// A projected token is exchanged for keys that expire (IRSA).
    WebIdentity(Box<WebIdentity>),
}

impl Credentials {
    /// The keys to sign the next request with.
    pub(super) async fn current(&self) -> Result<Arc<AwsCredential>> {
        match self {
            Self::Fixed(credential) => Ok(Arc::clone(credential)),
            Self::WebIdentity(identity) => identity.current().await,
        }
    }

    /// What Secret and environment offer; `None` for anonymous access.
    pub(super) fn choose(secret: &Secret, settings: &Settings, client: &Client, region: &str) -> Result<Option<Self>> {
        let fixed = |key_id: &str, secret_key: &str, token: Option<&str>| {
            credential(key_id, secret_key, token).map(|credential| Some(Self::Fixed(Arc::new(credential))))
        };
        if let Some((key_id, secret_key)) = secret.pair(&ACCESS_KEY, &SECRET_KEY)? {
            return fixed(key_id, secret_key, secret.get(&SESSION_TOKEN));
        }
        if !secret.is_empty() {
            return Err(Failure::new(
                Reason::InvalidSecret,
                "the Secret of an S3 source needs the keys accessKeyId and secretKey, \
                 or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            ));
        }
        if let Some([key_id, secret_key]) = &settings.keys {
            return fixed(key_id, secret_key, settings.session.as_deref());
        }
        let Some([role, token_file]) = &settings.identity else {
            return Ok(None);
        };
        let endpoint = match &settings.sts {
            Some(endpoint) => endpoint.clone(),
            None => format!("https://sts.{region}.amazonaws.com{}", if region.starts_with("cn-") { ".cn" } else { "" }),
        };
        let endpoint = Url::parse(&endpoint)
            .map_err(|error| Failure::new(Reason::InvalidUrl, format!("AWS_ENDPOINT_URL_STS is no URL: {error}")))?;
        Ok(Some(Self::WebIdentity(Box::new(WebIdentity {
            client: client.clone(),
            endpoint,
            role: role.clone(),
            token_file: PathBuf::from(token_file),
            known: Mutex::new(None),
        }))))
    }
}

/// A pod's identity at AWS (`AssumeRoleWithWebIdentity` of its Security Token Service).
pub(super) struct WebIdentity {
    client: Client,
    endpoint: Url,
    role: String,
    token_file: PathBuf,
    known: Mutex<Option<Temporary>>,
}

#[derive(Debug)]
struct Temporary {
    credential: Arc<AwsCredential>,
    until: Timestamp,
}

impl WebIdentity {
    async fn current(&self) -> Result<Arc<AwsCredential>> {
        let mut known = self.known.lock().await;
        let good = known.as_ref().filter(|temporary| temporary.until.duration_since(Timestamp::now()) > MARGIN);
        if let Some(temporary) = good {
            return Ok(Arc::clone(&temporary.credential));
        }
        let fresh = self.exchange().await?;
        let credential = Arc::clone(&fresh.credential);
        *known = Some(fresh);
        Ok(credential)
    }

    async fn exchange(&self) -> Result<Temporary> {
        // The kubelet replaces the file before its token expires.
        let token = std::fs::read_to_string(&self.token_file).map_err(|error| {
            let path = self.token_file.display();
            Failure::new(Reason::SecretMissing, format!("failed to read the identity token at {path}: {error}"))
        })?;
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("Action", "AssumeRoleWithWebIdentity")
            .append_pair("Version", "2011-06-15")
            .append_pair("RoleArn", &self.role)
            .append_pair("RoleSessionName", "vmdisk-worker")
            .append_pair("WebIdentityToken", token.trim())
            .finish();
        // The operator's environment names the service, not the image: so it is implied.
        let origin = self.endpoint.origin();
        let mut request = Request::get(&self.endpoint, &Anonymous).implied(&origin);
        request.method = Method::POST;
        request.form = Some(form);
        let response = self.client.send(request).await?;
        if !response.status().is_success() {
            return Err(refusal(&self.endpoint, response).await);
        }
        let body = self.client.read_limited(response, MAX_ANSWER).await?;
        parse(&String::from_utf8_lossy(&body))
    }
}

/// Reads the answer of the Security Token Service.
fn parse(answer: &str) -> Result<Temporary> {
    let field = |name: &str| {
        element(answer, name)
            .ok_or_else(|| Failure::new(Reason::BadResponse, format!("the token service's answer has no {name}")))
    };
    let until = field("Expiration")?.parse::<Timestamp>().map_err(|error| {
        Failure::new(
            Reason::BadResponse,
            format!("the token service's answer has a bad Expiration: {}", sentence(&error.to_string())),
        )
    })?;
    let token = field("SessionToken")?;
    let credential = credential(&field("AccessKeyId")?, &field("SecretAccessKey")?, Some(&token))?;
    Ok(Temporary { credential: Arc::new(credential), until })
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

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
