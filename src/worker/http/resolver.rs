//! DNS with the policy behind it: an address that is refused is never connected to.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::failure::{Failure, Reason, Result};
use crate::policy::Policy;

/// The system's resolver, its answers checked.
pub(super) struct CheckedResolver {
    policy: Arc<Policy>,
    proxies: Arc<HashSet<String>>,
}

impl CheckedResolver {
    /// `proxies` are exempt: whoever sets up the pod named them.
    pub(super) fn new(policy: Arc<Policy>, proxies: Arc<HashSet<String>>) -> Self {
        Self { policy, proxies }
    }
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = Arc::clone(&self.policy);
        let proxies = Arc::clone(&self.proxies);
        Box::pin(async move {
            let host = name.as_str();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
            if proxies.contains(host) {
                return Ok(Box::new(found.into_iter()) as Addrs);
            }
            let allowed = allowed(&policy, host, found)?;
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Those of the addresses of `host` that may be connected to, and nothing else is: a name that leads elsewhere when it
/// is asked for again gains nothing.
fn allowed(policy: &Policy, host: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>> {
    let mut refusal = None;
    let mut allowed = Vec::new();
    for address in found {
        match policy.check_address(host, address.ip()) {
            Ok(()) => allowed.push(address),
            Err(failure) => refusal = Some(failure),
        }
    }
    if allowed.is_empty() {
        return Err(refusal.unwrap_or_else(|| Failure::new(Reason::Connection, format!("{host} has no address"))));
    }
    Ok(allowed)
}

/// The hosts of the proxies that the environment names.
pub(super) fn proxy_hosts() -> HashSet<String> {
    ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"]
        .into_iter()
        .flat_map(|name| [std::env::var(name), std::env::var(name.to_lowercase())])
        .flatten()
        .filter_map(|value| {
            let with_scheme = if value.contains("://") { value } else { format!("http://{value}") };
            url::Url::parse(&with_scheme).ok()?.host_str().map(str::to_owned)
        })
        .collect()
}

#[cfg(test)]
#[path = "resolver_tests.rs"]
mod tests;
