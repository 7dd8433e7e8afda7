//! The API as the API server keeps it: what it accepts, what it refuses, and with which words.

mod images;
mod status;
mod syncs;
mod table;

use anyhow::Result;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use kube::Client;
use vmdisk_e2e::testing::{Bed, Scene, audit, impersonation, scenario};

#[tokio::test]
async fn every_rule_accepts_and_refuses_with_its_message() {
    scenario("crd", async |scene| tables(&controller().await?, &scene.namespace).await).await;
}

#[tokio::test]
async fn a_status_comes_back_as_it_was_written() {
    scenario("crd-status", async |scene| {
        let bed = Bed { client: controller().await? };
        status::survives(&Scene { bed, namespace: scene.namespace.clone() }).await
    })
    .await;
}

/// Nobody else may write records.
async fn controller() -> Result<Client> {
    impersonation::almighty(audit::CONTROLLER).await
}

async fn tables(client: &Client, namespace: &str) -> Result<()> {
    let mut messages = table::run(client, namespace, "VMDiskImage", images::creations(), images::changes()).await?;
    messages.extend(table::run(client, namespace, "VMDiskSync", syncs::creations(), syncs::changes()).await?);

    let mut untried = Vec::new();
    for crd in populator_crd::crds() {
        for version in &crd.spec.versions {
            let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
            for rule in schema.map(rules).unwrap_or_default() {
                if !messages.iter().any(|message| message.contains(&rule)) {
                    untried.push(rule);
                }
            }
        }
    }
    assert!(untried.is_empty(), "no case of the tables is refused by:\n{}", untried.join("\n"));
    Ok(())
}

/// The messages of all rules of a schema.
fn rules(schema: &JSONSchemaProps) -> Vec<String> {
    let own = schema.x_kubernetes_validations.iter().flatten().filter_map(|rule| rule.message.clone());
    let inner = schema.properties.iter().flat_map(|properties| properties.values()).flat_map(rules);
    own.chain(inner).collect()
}
