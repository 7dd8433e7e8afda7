//! How a request proves who sends it.

use std::time::Instant;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use crate::failure::{Failure, Reason, Result};

/// Adds credentials to requests. Asked only for requests to the origin that the credentials belong to.
#[async_trait]
pub trait Authorize: Send + Sync {
    /// Adds to `request` what the server wants to see; called last, when all other headers are set.
    async fn authorize(&self, request: &mut reqwest::Request) -> Result<()>;

    /// The server answered 401 or 403 with these headers to a request of the time `asked`: whether the same request may
    /// succeed now. Called at most once for each request; several may be on their way, and be refused, at once.
    async fn refused(&self, _headers: &HeaderMap, _asked: Instant) -> Result<bool> {
        Ok(false)
    }
}

/// No credentials.
#[derive(Debug, Clone, Copy)]
pub struct Anonymous;

#[async_trait]
impl Authorize for Anonymous {
    async fn authorize(&self, _request: &mut reqwest::Request) -> Result<()> {
        Ok(())
    }
}

/// User name and password (RFC 7617).
#[derive(Clone)]
pub struct Basic(HeaderValue);

impl Basic {
    /// The credentials as a header.
    #[must_use]
    pub fn new(username: &str, password: &str) -> Self {
        let text = format!("Basic {}", STANDARD.encode(format!("{username}:{password}")));
        // Base 64 is always a legal header value.
        let mut value = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("Basic"));
        value.set_sensitive(true);
        Self(value)
    }
}

impl Basic {
    /// The header's value.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

#[async_trait]
impl Authorize for Basic {
    async fn authorize(&self, request: &mut reqwest::Request) -> Result<()> {
        request.headers_mut().insert(AUTHORIZATION, self.0.clone());
        Ok(())
    }
}

/// A token (RFC 6750).
#[derive(Clone)]
pub struct Bearer(HeaderValue);

impl Bearer {
    /// The token as a header.
    ///
    /// # Errors
    ///
    /// [`Reason::InvalidSecret`] when the token holds what no header may hold.
    pub fn new(token: &str) -> Result<Self> {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
            Failure::new(Reason::InvalidSecret, "the token holds characters that no HTTP header may hold")
        })?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

#[async_trait]
impl Authorize for Bearer {
    async fn authorize(&self, request: &mut reqwest::Request) -> Result<()> {
        request.headers_mut().insert(AUTHORIZATION, self.0.clone());
        Ok(())
    }
}
