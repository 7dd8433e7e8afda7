//! URLs as they may be shown.

use url::Url;

use crate::shown::location;

/// The URL as it may be shown: without userinfo, query and fragment, and cut where it is long. Who sent it here, by a
/// redirect, may have made it so.
#[must_use]
pub fn redacted(url: &Url) -> String {
    location(&located(url))
}

/// The URL as it may be kept: without userinfo, query and fragment. Presigned URLs carry their credential in the query.
#[must_use]
pub fn located(url: &Url) -> String {
    let mut shown = url.clone();
    // Fails only for URLs that cannot have userinfo, which then have none to hide.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.set_query(None);
    shown.set_fragment(None);
    shown.to_string()
}
