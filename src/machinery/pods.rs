//! Who may have a volume mounted: the pods that name its claim.

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, api::ListParams};

use crate::observed::names_claim;

/// How many pods are read at once.
const PODS_A_PAGE: u32 = 100;

/// The pods of a namespace that name a claim, in whatever phase, as they are now. Page by page; kept are those alone.
///
/// # Errors
///
/// Those of the API server.
pub async fn pods_naming(client: &Client, namespace: &str, claim: &str) -> Result<Vec<Pod>, kube::Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let mut found = Vec::new();
    let mut page = ListParams::default().limit(PODS_A_PAGE);
    loop {
        let pods = api.list(&page).await?;
        found.extend(pods.items.into_iter().filter(|pod| names_claim(pod, claim)));
        match pods.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(found),
        }
    }
}
