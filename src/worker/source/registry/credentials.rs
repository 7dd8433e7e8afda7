//! Which credentials of a Secret are for a repository. Pure.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::failure::{Failure, Reason, Result};
use crate::source::Secret;

/// What to show a registry.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    /// Nothing.
    Anonymous,
    /// User name and password.
    Password { username: String, password: String },
    /// A refresh token, good for the token service alone (`identitytoken`).
    Refresh(String),
    /// A token for the registry itself (`registrytoken`).
    Token(String),
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize, Default)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    identitytoken: String,
    #[serde(default)]
    registrytoken: String,
}

/// The credentials for `repository` at `host`.
pub(super) fn choose(secret: &Secret, host: &str, repository: &str) -> Result<Credentials> {
    if let Some(text) = secret.get(&[".dockerconfigjson", "config.json"]) {
        let config: DockerConfig = serde_json::from_str(text).map_err(|error| {
            // The error's text would repeat what it found.
            invalid(&format!(".dockerconfigjson is not valid JSON (line {})", error.line()))
        })?;
        return pick(config.auths, host, repository);
    }
    if let Some(text) = secret.get(&[".dockercfg"]) {
        let auths = serde_json::from_str(text)
            .map_err(|error| invalid(&format!(".dockercfg is not valid JSON (line {})", error.line())))?;
        return pick(auths, host, repository);
    }
    let pair = match secret.pair(&["accessKeyId"], &["secretKey"])? {
        Some(pair) => Some(pair),
        None => secret.basic()?,
    };
    match pair {
        Some((username, password)) => {
            Ok(Credentials::Password { username: username.to_owned(), password: password.to_owned() })
        }
        None if secret.is_empty() => Ok(Credentials::Anonymous),
        None => Err(invalid("it needs .dockerconfigjson, or accessKeyId and secretKey, or username and password")),
    }
}

/// The entry whose host matches and whose path is the longest that the repository begins with.
fn pick(auths: BTreeMap<String, Entry>, host: &str, repository: &str) -> Result<Credentials> {
    let best = auths
        .into_iter()
        .filter_map(|(key, entry)| Some((matching(&key, host, repository)?, entry)))
        .max_by_key(|(length, _)| *length);
    match best {
        // A Secret for other registries is no error: the image may be public.
        None => Ok(Credentials::Anonymous),
        Some((_, entry)) => entry.credentials(),
    }
}

/// How well a key such as `https://host/path` fits; `None` when it does not.
fn matching(key: &str, host: &str, repository: &str) -> Option<usize> {
    let key = key.split_once("://").map_or(key, |(_, rest)| rest).trim_end_matches('/');
    let (key_host, path) = key.split_once('/').unwrap_or((key, ""));
    // Docker Hub's key is a URL of its first API.
    let is_hub = |name: &str| matches!(name, "docker.io" | "index.docker.io" | "registry-1.docker.io");
    if is_hub(key_host) && is_hub(host) {
        return Some(if matches!(path, "v1" | "v2" | "") { 0 } else { prefix(path, repository)? });
    }
    let same = key_host.split('.').count() == host.split('.').count()
        && key_host.split('.').zip(host.split('.')).all(|(a, b)| a == "*" || a.eq_ignore_ascii_case(b));
    same.then_some(())?;
    prefix(path, repository)
}

fn prefix(path: &str, repository: &str) -> Option<usize> {
    let covered =
        path.is_empty() || repository.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    covered.then_some(path.len())
}

impl Entry {
    fn credentials(self) -> Result<Credentials> {
        if !self.registrytoken.is_empty() {
            return Ok(Credentials::Token(self.registrytoken));
        }
        if !self.identitytoken.is_empty() {
            return Ok(Credentials::Refresh(self.identitytoken));
        }
        if !self.username.is_empty() {
            return Ok(Credentials::Password { username: self.username, password: self.password });
        }
        if self.auth.is_empty() {
            return Ok(Credentials::Anonymous);
        }
        STANDARD
            .decode(self.auth.trim())
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .and_then(|text| {
                let (username, password) = text.split_once(':')?;
                Some(Credentials::Password { username: username.to_owned(), password: password.to_owned() })
            })
            .ok_or_else(|| invalid("an auth is not the base 64 form of user:password"))
    }
}

fn invalid(why: &str) -> Failure {
    Failure::new(Reason::InvalidSecret, format!("the Secret does not fit a registry: {why}"))
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
