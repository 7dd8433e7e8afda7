//! URLs as they may be shown.

use url::Url;

/// The URL without userinfo, query and fragment: presigned URLs carry their credential in the query.
#[must_use]
pub fn redacted(url: &Url) -> String {
    let mut shown = url.clone();
    // Fails only for URLs that cannot have userinfo, which then have none to hide.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.set_query(None);
    shown.set_fragment(None);
    shown.to_string()
}
