//! One request: policy, credentials, redirects.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, IF_MATCH, LOCATION, RANGE,
};
use reqwest::{Method, Response, StatusCode};
use url::{Origin, Url};

use super::Authorize;
use super::resolver::{CheckedResolver, proxy_hosts};
use crate::failure::{Failure, Reason, Result};
use crate::policy::Policy;
use crate::redact::redacted;
use crate::shown::{sentence, shown};

/// As many as browsers follow is more than any registry or bucket needs.
const MAX_REDIRECTS: usize = 10;

/// The headers that another origin is shown: which bytes are asked for. Whatever else a request has is between it and
/// its own server, and may be secret.
const TRAVELLING: [HeaderName; 3] = [ACCEPT, RANGE, IF_MATCH];

/// How patient a client is.
#[derive(Debug, Clone)]
pub struct Options {
    /// The longest time for a connection to be made.
    pub connect_timeout: Duration,
    /// The longest silence of a server in the middle of an answer.
    pub idle_timeout: Duration,
    /// How often in a row a first connection is tried again.
    pub retries: usize,
    /// How often in a row a connection is tried again in the middle: giving up there may cost all that was fetched.
    pub resumptions: usize,
    /// The shortest and the longest pause between two tries.
    pub delays: (Duration, Duration),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_mins(1),
            retries: 5,
            resumptions: 14,
            delays: (Duration::from_millis(250), Duration::from_secs(20)),
        }
    }
}

/// The one way to the network.
#[derive(Clone)]
pub struct Client {
    inner: reqwest::Client,
    policy: Arc<Policy>,
    options: Arc<Options>,
    proxies: Arc<HashSet<String>>,
}

/// What is asked of a server.
#[derive(Clone)]
pub struct Request<'a> {
    /// The method; only reading ones and the POST of token services.
    pub method: Method,
    /// Where to.
    pub url: &'a Url,
    /// Headers beside those of credentials.
    pub headers: HeaderMap,
    /// A form, for POST: a credential by itself, as token services take them.
    pub form: Option<String>,
    /// Whose credentials.
    pub authorize: &'a dyn Authorize,
    /// Whether the image's own URL, which the policy has allowed, implies this origin.
    pub implied: Option<&'a Origin>,
}

impl<'a> Request<'a> {
    /// A GET of `url`.
    pub fn get(url: &'a Url, authorize: &'a dyn Authorize) -> Self {
        Self { method: Method::GET, url, headers: HeaderMap::new(), form: None, authorize, implied: None }
    }

    /// The request with the origin that the image's URL implies.
    #[must_use]
    pub fn implied(mut self, origin: &'a Origin) -> Self {
        self.implied = Some(origin);
        self
    }
}

impl Client {
    /// A client that trusts the system's certificates and those in the PEM files of `certificates`.
    ///
    /// # Errors
    ///
    /// [`Reason::InvalidSecret`] for a file that holds no certificate, [`Reason::Internal`] when TLS cannot be set up.
    pub fn new(policy: Arc<Policy>, options: Options, certificates: Option<&Path>) -> Result<Self> {
        let roots = match certificates {
            Some(directory) => read_certificates(directory)?,
            None => Vec::new(),
        };
        let proxies = Arc::new(proxy_hosts());
        let resolver = CheckedResolver::new(Arc::clone(&policy), Arc::clone(&proxies));
        let inner = reqwest::Client::builder()
            .user_agent(concat!("vmdisk-worker/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(options.connect_timeout)
            // Several ranges at once are for what is slow for each connection; HTTP/2 would put them all on one.
            .http1_only()
            // Our own retries count what they cost; silent ones would not.
            .retry(reqwest::retry::never())
            .dns_resolver(resolver)
            .tls_certs_merge(roots)
            .build()
            .map_err(|error| {
                Failure::new(
                    Reason::Internal,
                    format!("failed to set up TLS: {}; are the system's CA certificates installed?", chain(&error)),
                )
            })?;
        Ok(Self { inner, policy, options: Arc::new(options), proxies })
    }

    /// How patient this client is.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The rules it obeys.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Sends `request` and follows redirects; any other answer is the caller's to judge. Credentials are sent to the
    /// first origin alone, and never again after a redirect has left it. A request that is itself a credential, by its
    /// form, does not leave it at all.
    ///
    /// # Errors
    ///
    /// The policy's refusals, [`Reason::BadRedirect`], [`Reason::Connection`].
    pub async fn send(&self, request: Request<'_>) -> Result<Response> {
        let home = request.url.origin();
        let mut at_home = true;
        let mut url = request.url.clone();
        let (mut method, mut form) = (request.method.clone(), request.form.as_ref());
        for _ in 0..=MAX_REDIRECTS {
            self.check(&url, request.implied)?;
            let mut hop =
                self.inner.request(method.clone(), url.clone()).headers(headers(&request, at_home)).build().map_err(
                    |error| Failure::new(Reason::InvalidUrl, format!("{}: {}", redacted(&url), chain(&error))),
                )?;
            if let Some(form) = form {
                hop.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
                *hop.body_mut() = Some(form.clone().into());
            }
            if at_home {
                request.authorize.authorize(&mut hop).await?;
            }
            let response =
                self.patiently(self.inner.execute(hop), &url).await?.map_err(|error| connection(&url, &error))?;
            let Some(mut next) = redirect(&url, &response)? else {
                return Ok(response);
            };
            if next.origin() != home {
                if form.is_some() {
                    return Err(strays(&url, &next));
                }
                at_home = false;
            }
            if !at_home {
                // Userinfo would be sent as credentials, and a stranger does not choose whom we pass for. An HTTP URL
                // can always do without it.
                let _ = next.set_username("");
                let _ = next.set_password(None);
            }
            if form.is_some() && response.status() == StatusCode::SEE_OTHER {
                // What was asked for lies there, and is fetched without the form (RFC 9110, section 15.4.4).
                (method, form) = (Method::GET, None);
            }
            url = next;
        }
        Err(Failure::new(
            Reason::BadRedirect,
            format!("{} redirects more than {MAX_REDIRECTS} times", redacted(request.url)),
        ))
    }

    /// The next bytes of an answer; `None` after the last.
    ///
    /// # Errors
    ///
    /// [`Reason::Connection`], also for a server that falls silent.
    pub(super) async fn chunk(&self, response: &mut Response) -> Result<Option<Bytes>> {
        let url = response.url().clone();
        // Only the time in which somebody waits counts, unlike the library's own timeout: a slow reader is no silent
        // server.
        self.patiently(response.chunk(), &url).await?.map_err(|error| connection(&url, &error))
    }

    async fn patiently<T>(&self, wait: impl Future<Output = T>, url: &Url) -> Result<T> {
        let patience = self.options.idle_timeout;
        tokio::time::timeout(patience, wait)
            .await
            .map_err(|_| Failure::new(Reason::Connection, format!("{} sent nothing for {patience:?}", redacted(url))))
    }

    /// The body of an answer of at most `limit` bytes, such as a token service's.
    ///
    /// # Errors
    ///
    /// [`Reason::BadResponse`] for a longer one, [`Reason::Connection`].
    pub async fn read_limited(&self, mut response: Response, limit: usize) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk(&mut response).await? {
            body.extend_from_slice(&chunk);
            if body.len() > limit {
                let message = format!("{} answers with more than {limit} bytes", redacted(response.url()));
                return Err(Failure::new(Reason::BadResponse, message));
            }
        }
        Ok(body)
    }

    fn check(&self, url: &Url, implied: Option<&Origin>) -> Result<()> {
        if implied != Some(&url.origin()) {
            self.policy.check_url(url)?;
        }
        // The resolver sees names only; an address in the URL goes past it.
        let address = match url.host() {
            Some(url::Host::Ipv4(address)) => address.into(),
            Some(url::Host::Ipv6(address)) => address.into(),
            // The way to the proxy is exempt from that check, so the proxy's host must not be taken for a source.
            Some(url::Host::Domain(host)) if self.proxies.contains(host) && !self.policy.names(host) => {
                return Err(Failure::new(
                    Reason::SourceNotAllowed,
                    format!(
                        "{host} is the host of the proxy; if images lie there too, \
                         name it in allowedSources in sync-operator-policy"
                    ),
                ));
            }
            _ => return Ok(()),
        };
        self.policy.check_address(url.host_str().unwrap_or_default(), address)
    }
}

/// The headers of one hop of `request`, beside those of credentials.
fn headers(request: &Request<'_>, at_home: bool) -> HeaderMap {
    let mut headers = if at_home {
        request.headers.clone()
    } else {
        let travelling = |name: HeaderName| request.headers.get(&name).cloned().map(|value| (name, value));
        TRAVELLING.into_iter().filter_map(travelling).collect()
    };
    // Ranges and digests are of the stored bytes; nothing may be compressed on the way.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers
}

/// A redirect that would carry a credential away.
fn strays(from: &Url, to: &Url) -> Failure {
    Failure::new(
        Reason::BadRedirect,
        format!(
            "{} redirects a request that holds a credential to another origin, {}, which is refused; name the address that \
             answers itself",
            redacted(from),
            redacted(to)
        ),
    )
}

/// Where a redirect leads; `None` for any other answer.
fn redirect(from: &Url, response: &Response) -> Result<Option<Url>> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let bad = |what: &str| Failure::new(Reason::BadRedirect, format!("{} redirects {what}", redacted(from)));
    let Some(location) = response.headers().get(LOCATION) else {
        // S3 names a bucket's region this way; the caller reads the headers.
        return Ok(None);
    };
    let next = location
        .to_str()
        .ok()
        .and_then(|location| from.join(location).ok())
        .ok_or_else(|| bad("to what is not a URL"))?;
    match (from.scheme(), next.scheme()) {
        (_, "https") | ("http", "http") => Ok(Some(next)),
        ("https", "http") => Err(bad("from https to plain http, which is refused")),
        (_, scheme) => Err(bad(&format!("to a URL of scheme {}", shown(scheme)))),
    }
}

/// The failure behind an error of the HTTP library: the policy's, when the resolver refused an address.
pub(super) fn connection(url: &Url, error: &reqwest::Error) -> Failure {
    let host = shown(url.host_str().unwrap_or_default());
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(failure) = current.downcast_ref::<Failure>() {
            return failure.clone();
        }
        // I/O errors hide what they wrap: their source is the inner error's source.
        let mut inner = current;
        while let Some(wrapped) = inner.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            inner = wrapped;
        }
        if let Some(rustls::Error::InvalidCertificate(why)) = inner.downcast_ref() {
            return Failure::new(
                Reason::Untrusted,
                format!(
                    "the certificate of {host} is not trusted: {}; name the CA that signed it in certConfigMap",
                    sentence(&why.to_string())
                ),
            );
        }
        cause = current.source();
    }
    Failure::new(Reason::Connection, format!("no connection to {host}: {}", chain(error)))
}

/// An error and its causes in one line. The library's own texts begin with the URL, whose query may be a credential.
pub(super) fn chain(error: &reqwest::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(current) = cause {
        let text = current.to_string();
        if parts.last() != Some(&text) {
            parts.push(text);
        }
        cause = current.source();
    }
    if parts.is_empty() {
        parts.push(if error.is_timeout() { "timed out".into() } else { "the request failed".into() });
    }
    parts.join(": ")
}

fn read_certificates(directory: &Path) -> Result<Vec<reqwest::Certificate>> {
    let mut certificates = Vec::new();
    let Ok(entries) = std::fs::read_dir(directory) else {
        // Mounted optional: an image without certConfigMap has no such directory.
        return Ok(certificates);
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        // The kubelet keeps its own bookkeeping beside the keys, as ..data and the like.
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if hidden || !path.is_file() {
            continue;
        }
        let invalid =
            |why: String| Failure::new(Reason::InvalidSecret, format!("the CA file {} {why}", path.display()));
        let pem = std::fs::read(&path).map_err(|error| invalid(format!("cannot be read: {error}")))?;
        let found = reqwest::Certificate::from_pem_bundle(&pem)
            .map_err(|error| invalid(format!("is not PEM: {}", chain(&error))))?;
        if found.is_empty() {
            return Err(invalid("holds no certificate in PEM form".into()));
        }
        certificates.extend(found);
    }
    Ok(certificates)
}
