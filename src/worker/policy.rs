//! Which sources and which addresses a worker may reach.
//!
//! Two questions, asked at two moments. Before a request: does the list of allowed sources cover this URL? After DNS:
//! may this host lead to this address? Names of hosts prove nothing, so the second is asked of every address that is
//! connected to, redirects and token services included.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use url::{Host, Url};
use vmdisk_wire::Limits;

use crate::failure::{Failure, Reason, Result};
use crate::redact::redacted;
use crate::shown::{sentence, shown};

/// The rules in force for one worker.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    allowed: Vec<Prefix>,
    refused: Vec<IpNet>,
    allow_loopback: bool,
}

/// One entry of `allowedSources`: a URL up to and including a path segment.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Prefix {
    scheme: String,
    host: String,
    port: Option<u16>,
    path: Vec<String>,
}

impl Policy {
    /// The policy of a job.
    ///
    /// # Errors
    ///
    /// [`Reason::BadJob`] when an entry cannot be read: a rule that is not understood must not be skipped.
    pub fn new(limits: &Limits) -> Result<Self> {
        let allowed = limits.allowed_sources.iter().map(|entry| Prefix::parse(entry)).collect::<Result<_>>()?;
        let refused = limits.refused_networks.iter().map(|network| parse_network(network)).collect::<Result<_>>()?;
        Ok(Self { allowed, refused, allow_loopback: false })
    }

    /// The policy of somebody who types the URL: everything that the machine reaches, this machine included, but
    /// still not where only a redirect or a forged name would lead.
    #[must_use]
    pub fn by_hand() -> Self {
        Self { allow_loopback: true, ..Self::default() }
    }

    /// Whether plain HTTP may be spoken to a registry on this host: only this machine's own.
    #[must_use]
    pub fn plain_registry(&self, host: &Host<&str>) -> bool {
        self.allow_loopback
            && match host {
                Host::Domain(name) => *name == "localhost",
                Host::Ipv4(address) => address.is_loopback(),
                Host::Ipv6(address) => address.is_loopback(),
            }
    }

    /// Whether the policy allows this image URL, or this URL that a source led to.
    ///
    /// # Errors
    ///
    /// [`Reason::SourceNotAllowed`] naming the URL and the entries.
    pub fn check_url(&self, url: &Url) -> Result<()> {
        if self.allowed.is_empty() || self.allowed.iter().any(|prefix| prefix.covers(url)) {
            return Ok(());
        }
        let entries: Vec<String> = self.allowed.iter().map(ToString::to_string).collect();
        Err(Failure::new(
            Reason::SourceNotAllowed,
            format!(
                "{} is not among the sources that the policy allows ({}); \
                 add it to allowedSources in sync-operator-policy or use one of them",
                redacted(url),
                sentence(&entries.join(", "))
            ),
        ))
    }

    /// Whether a connection to `host` may go to `address`.
    ///
    /// # Errors
    ///
    /// [`Reason::SourceNotAllowed`] naming both.
    pub fn check_address(&self, host: &str, address: IpAddr) -> Result<()> {
        if self.names(host) {
            return Ok(());
        }
        let Some(kind) = self.refusal(canonical(address)) else {
            return Ok(());
        };
        Err(Failure::new(
            Reason::SourceNotAllowed,
            format!(
                "{} leads to {address}, {kind}; if that is meant, \
                 name the host in allowedSources in sync-operator-policy",
                shown(host)
            ),
        ))
    }

    /// Whether one of the sources that the policy allows is at `host`.
    #[must_use]
    pub fn names(&self, host: &str) -> bool {
        self.allowed.iter().any(|prefix| prefix.host.eq_ignore_ascii_case(host))
    }

    fn refusal(&self, address: IpAddr) -> Option<String> {
        if let Some(network) = self.refused.iter().find(|net| net.contains(&address)) {
            return Some(format!("which the policy refuses ({network})"));
        }
        if METADATA.contains(&address) {
            return Some("a cloud's metadata service".into());
        }
        let (unspecified, multicast, loopback, link_local) = match address {
            IpAddr::V4(v4) => {
                (v4.octets()[0] == 0 || v4.is_broadcast(), v4.is_multicast(), v4.is_loopback(), v4.is_link_local())
            }
            IpAddr::V6(v6) => (v6.is_unspecified(), v6.is_multicast(), v6.is_loopback(), v6.is_unicast_link_local()),
        };
        if unspecified {
            Some("which is no host's address".into())
        } else if multicast {
            Some("a multicast address".into())
        } else if link_local {
            Some("a link-local address".into())
        } else if loopback && !self.allow_loopback {
            Some("the worker's own loopback".into())
        } else {
            None
        }
    }
}

/// Metadata and platform services of the large clouds; whoever reaches them can become the node.
const METADATA: [IpAddr; 7] = [
    // AWS, Google, Azure and most others.
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    // AWS over IPv6: the instance's, and the identities of EKS pods.
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    // Google over IPv6.
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    // Alibaba Cloud.
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    // Azure's platform channel.
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    // Oracle Cloud.
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

/// The IPv4 address that a packet to `address` would really go to, where IPv6 carries one.
fn carried(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = address.octets();
    let at = |places: [usize; 4]| Some(Ipv4Addr::from(places.map(|place| octets[place])));
    match address.segments() {
        // These two are themselves; everything else below ::/96 is IPv4-compatible (RFC 4291, section 2.5.5.1).
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        // So are IPv4-mapped (section 2.5.5.2) and IPv4-translated addresses (RFC 2765), and the well-known prefix of
        // NAT64 (RFC 6052).
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            at([12, 13, 14, 15])
        }
        // The prefix for local NAT64 (RFC 8215), of 96 or of 48 bits: the latter goes around the ninth octet.
        [0x64, 0xff9b, 1, 0, 0, 0, ..] => at([12, 13, 14, 15]),
        [0x64, 0xff9b, 1, ..] => at([6, 7, 9, 10]),
        // 6to4 (RFC 3056).
        [0x2002, ..] => at([2, 3, 4, 5]),
        _ => None,
    }
}

/// The address to judge: IPv4 inside IPv6 is IPv4.
fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => carried(v6).map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

fn parse_network(text: &str) -> Result<IpNet> {
    text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| {
        Failure::new(Reason::BadJob, format!("the policy's network {text:?} is not of the form 10.0.0.0/8"))
    })
}

impl Prefix {
    fn parse(entry: &str) -> Result<Self> {
        let invalid = |why: &str| {
            Failure::new(
                Reason::BadJob,
                format!("the policy's allowed source {entry:?} {why}; expected scheme://host[:port][/path]"),
            )
        };
        let url = Url::parse(entry).map_err(|error| invalid(&format!("is not a URL ({error})")))?;
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return Err(invalid("carries more than scheme, host, port and path"));
        }
        let host = url.host_str().filter(|host| !host.is_empty());
        Ok(Self {
            scheme: scheme_class(url.scheme()).to_owned(),
            host: host.ok_or_else(|| invalid("names no host"))?.to_owned(),
            port: effective_port(&url),
            path: segments(&url),
        })
    }

    fn covers(&self, url: &Url) -> bool {
        let path = segments(url);
        self.scheme == scheme_class(url.scheme())
            && url
                .host_str()
                .is_some_and(|host| host.eq_ignore_ascii_case(&self.host))
            && self.port == effective_port(url)
            && path.len() >= self.path.len()
            && self.path.iter().zip(&path).all(|(a, b)| a == b)
            // A server may resolve dots, encoded ones too, after we compared.
            && !path.iter().any(|segment| is_dotted(segment))
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        self.path.iter().try_for_each(|segment| write!(f, "/{segment}"))
    }
}

/// `docker://` and `oci://` mean the same source.
fn scheme_class(scheme: &str) -> &str {
    match scheme {
        "oci" => "docker",
        other => other,
    }
}

fn effective_port(url: &Url) -> Option<u16> {
    url.port_or_known_default().or(match url.scheme() {
        "docker" | "oci" => Some(443),
        _ => None,
    })
}

fn segments(url: &Url) -> Vec<String> {
    url.path().split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
}

fn is_dotted(segment: &str) -> bool {
    let plain = segment.to_ascii_lowercase().replace("%2e", ".");
    plain == ".." || plain == "." || segment.to_ascii_lowercase().contains("%2f")
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
