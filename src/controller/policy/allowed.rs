//! One entry of `allowedSources`: parsed, never compared as text.

use std::fmt;

use url::Url;

use super::values::shown;

/// A prefix of URLs: scheme, host and port are equal, the path is equal by segment as far as the entry goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedSource {
    scheme: String,
    host: String,
    port: Option<u16>,
    path: Vec<String>,
}

impl AllowedSource {
    /// Reads `scheme://host[:port][/path]`.
    ///
    /// # Errors
    ///
    /// A sentence that names what is wrong and what is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected SCHEME://HOST[:PORT][/PATH], SCHEME one of docker, oci, s3, https, http";
        let url = Url::parse(text).map_err(|error| format!("{} is no URL ({error}); {EXPECTED}", shown(text)))?;
        let (scheme, port) = scheme(&url)
            .ok_or_else(|| format!("{} has the scheme {}; {EXPECTED}", shown(text), shown(url.scheme())))?;
        let host = url
            .host_str()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| format!("{} names no host; {EXPECTED}", shown(text)))?;
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            // Not shown: it may have a password.
            return Err(format!("an entry for {} has more than scheme, host, port and path; {EXPECTED}", shown(host)));
        }
        Ok(Self { scheme: scheme.to_owned(), host: host.to_ascii_lowercase(), port, path: segments(&url) })
    }

    /// An entry that covers nothing that exists: the domain `invalid` is reserved for names that are none (RFC 6761),
    /// and whoever is told of it reads why.
    pub(super) fn nothing() -> Self {
        let host = "allowed-sources-cannot-be-read.invalid".to_owned();
        Self { scheme: "https".to_owned(), host, port: Some(443), path: Vec::new() }
    }

    /// Whether the entry covers this URL.
    #[must_use]
    pub fn covers(&self, url: &Url) -> bool {
        let Some((scheme, port)) = scheme(url) else {
            return false;
        };
        scheme == self.scheme
            && port == self.port
            && url.host_str().is_some_and(|host| host.eq_ignore_ascii_case(&self.host))
            && segments(url).starts_with(&self.path)
    }
}

impl fmt::Display for AllowedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        for segment in &self.path {
            write!(f, "/{segment}")?;
        }
        Ok(())
    }
}

/// The scheme, `docker` and `oci` being one, with the port that it means when none is written.
fn scheme(url: &Url) -> Option<(&'static str, Option<u16>)> {
    let (scheme, default) = match url.scheme() {
        "docker" | "oci" => ("oci", Some(443)),
        "s3" => ("s3", None),
        "https" => ("https", Some(443)),
        "http" => ("http", Some(80)),
        _ => return None,
    };
    Some((scheme, url.port().or(default)))
}

/// The path's segments; a tag or digest on the last one is not part of a repository's name.
fn segments(url: &Url) -> Vec<String> {
    let path = url.path().trim_matches('/');
    let path = match url.scheme() {
        "docker" | "oci" => repository(path),
        _ => path,
    };
    path.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
}

fn repository(path: &str) -> &str {
    let path = path.split_once('@').map_or(path, |(before, _)| before);
    let last = path.rfind('/').map_or(0, |slash| slash + 1);
    path[last..].find(':').map_or(path, |colon| &path[..last + colon])
}
