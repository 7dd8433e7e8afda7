//! The registry's token flow (Distribution specification, "Token Authentication"): the registry answers 401 and names
//! a token service, the service gives a token for the repository, the request is repeated with it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use serde::Deserialize;
use url::{Origin, Url, form_urlencoded};

use super::credentials::Credentials;
use crate::failure::{Failure, Reason, Result};
use crate::http::{Anonymous, Authorize, Basic, Client, Request, refusal};

/// Tokens are a few kilobytes.
const MAX_TOKEN: usize = 1 << 20;

/// Credentials for one repository of one registry.
pub(super) struct RegistryAuth {
    client: Client,
    origin: Origin,
    scope: String,
    credentials: Credentials,
    /// What the registry wants to see, since it said so, and when that was.
    header: Mutex<(Option<HeaderValue>, Instant)>,
    /// Held while a token is asked for: requests that are refused at once need one token between them.
    asking: tokio::sync::Mutex<()>,
}

/// What `WWW-Authenticate` asks for.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

impl RegistryAuth {
    pub(super) fn new(client: &Client, api: &Url, repository: &str, credentials: Credentials) -> Result<Self> {
        let header = match &credentials {
            Credentials::Token(token) => Some(bearer(token)?),
            _ => None,
        };
        Ok(Self {
            client: client.clone(),
            origin: api.origin(),
            scope: format!("repository:{repository}:pull"),
            credentials,
            header: Mutex::new((header, Instant::now())),
            asking: tokio::sync::Mutex::default(),
        })
    }

    /// Gets a token where the registry says.
    ///
    /// The user's password goes to the realm that the registry itself named, over a connection that was checked for
    /// the registry: that is the protocol, and Docker Hub and `GitLab` keep theirs on another host. A challenge is
    /// never taken from a server that a redirect led to, and never leaves TLS.
    async fn token(&self, realm: &str, service: Option<&str>, scope: Option<&str>) -> Result<HeaderValue> {
        let bad =
            |why: &str| Failure::new(Reason::BadResponse, format!("the registry names a token service that {why}"));
        let mut url = Url::parse(realm).map_err(|_| bad("is not a URL"))?;
        let same = url.origin() == self.origin;
        if url.scheme() != "https" && !same {
            return Err(bad("is not reached by https"));
        }
        let scope = scope.unwrap_or(&self.scope).to_owned();
        let mut pairs = vec![("scope", scope.as_str())];
        if let Some(service) = service {
            pairs.push(("service", service));
        }
        let authorize: Arc<dyn Authorize> = match &self.credentials {
            Credentials::Password { username, password } => Arc::new(Basic::new(username, password)),
            _ => Arc::new(Anonymous),
        };
        let mut form = None;
        if let Credentials::Refresh(token) = &self.credentials {
            pairs.extend([
                ("grant_type", "refresh_token"),
                ("refresh_token", token.as_str()),
                ("client_id", "vmdisk-worker"),
            ]);
            form = Some(form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish());
        } else {
            url.query_pairs_mut().extend_pairs(&pairs);
        }
        let mut request = Request::get(&url, authorize.as_ref()).implied(&self.origin);
        if form.is_some() {
            request.method = Method::POST;
            request.form = form;
        }
        let response = self.client.send(request).await?;
        if !response.status().is_success() {
            return Err(refusal(&url, response).await);
        }
        let body = self.client.read_limited(response, MAX_TOKEN).await?;
        let answer: Answer = serde_json::from_slice(&body).map_err(|_| bad("answers with something else"))?;
        bearer(if answer.token.is_empty() { &answer.access_token } else { &answer.token })
    }
}

#[async_trait]
impl Authorize for RegistryAuth {
    async fn authorize(&self, request: &mut reqwest::Request) -> Result<()> {
        let header = self.header.lock().unwrap_or_else(PoisonError::into_inner).0.clone();
        if let Some(header) = header {
            request.headers_mut().insert(AUTHORIZATION, header);
        }
        Ok(())
    }

    async fn refused(&self, headers: &HeaderMap, asked: Instant) -> Result<bool> {
        let _asking = self.asking.lock().await;
        if self.header.lock().unwrap_or_else(PoisonError::into_inner).1 > asked {
            return Ok(true);
        }
        let challenge =
            headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()).find_map(parse_challenge);
        let header = match (challenge, &self.credentials) {
            (Some(Challenge::Bearer { .. }), Credentials::Token(_)) | (None, _) => return Ok(false),
            (Some(Challenge::Bearer { realm, service, scope }), _) => {
                self.token(&realm, service.as_deref(), scope.as_deref()).await?
            }
            (Some(Challenge::Basic), Credentials::Password { username, password }) => {
                Basic::new(username, password).header()
            }
            (Some(Challenge::Basic), _) => return Ok(false),
        };
        let mut known = self.header.lock().unwrap_or_else(PoisonError::into_inner);
        let other = known.0.as_ref() != Some(&header);
        *known = (Some(header), Instant::now());
        Ok(other)
    }
}

fn bearer(token: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| Failure::new(Reason::InvalidSecret, "a token holds characters that no HTTP header may hold"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Reads one challenge (RFC 9110, section 11.6.1).
fn parse_challenge(text: &str) -> Option<Challenge> {
    let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut realm = None;
    let mut service = None;
    let mut scope = None;
    let mut rest = rest.trim_start();
    while let Some((name, after)) = rest.split_once('=') {
        // Values are quoted where they may hold commas, as scopes do.
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        let slot = match name.trim().to_ascii_lowercase().as_str() {
            "realm" => Some(&mut realm),
            "service" => Some(&mut service),
            "scope" => Some(&mut scope),
            _ => None,
        };
        if let Some(slot) = slot {
            *slot = Some(value.to_owned());
        }
        rest = after.trim_start_matches([',', ' ']);
    }
    Some(Challenge::Bearer { realm: realm?, service, scope })
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
