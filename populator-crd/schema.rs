//! The schemas: what the derives cannot say about types that are not ours, and the finished CRDs.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use crate::{VMDiskImage, VMDiskSync, VolumePopulator, v1alpha1::SyncPhase};

/// The CRDs of our own kinds, ready to be applied.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![finished(VMDiskImage::crd()), queued_from_the_start(finished(VMDiskSync::crd()))]
}

/// A sync is queued from the moment at which it exists, in the order of creation. The API server says so to whoever reads
/// one that has no status yet (structural schemas are defaulted on reads from the store), so nobody has to write it.
fn queued_from_the_start(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let schema = version.schema.as_mut().and_then(|validation| validation.open_api_v3_schema.as_mut());
        let status = schema.and_then(|schema| schema.properties.as_mut()?.get_mut("status"));
        if let Some(status) = status {
            status.default = Some(JSON(json!({"phase": SyncPhase::Queued})));
        }
    }
    crd
}

/// The CRD of the registration object. The volume-data-source-validator ships it; a cluster without that has no use
/// for ours, so it is no part of an installation.
#[must_use]
pub fn volume_populator_crd() -> CustomResourceDefinition {
    finished(VolumePopulator::crd())
}

fn finished(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|validation| validation.open_api_v3_schema.as_mut()) {
            each(schema, &finish_property);
        }
    }
    crd
}

fn finish_property(schema: &mut JSONSchemaProps) {
    forbid_null(schema);
    schema.title = None;
    schema.description = schema.description.as_deref().map(reflow);
}

/// Joins the lines of each paragraph: they break where the source file's do, and `kubectl explain` has its own width.
fn reflow(text: &str) -> String {
    let paragraphs: Vec<String> =
        text.split("\n\n").map(|paragraph| paragraph.split('\n').collect::<Vec<_>>().join(" ")).collect();
    paragraphs.join("\n\n")
}

/// Takes `nullable` off every property. The derives put it on each `Option`, but an explicit null then is a value: it
/// is stored, `has()` is true of it in a rule, and server-side apply owns it. Without `nullable` the API server drops
/// it on write, and absent means absent.
fn forbid_null(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    if let Some(values) = &mut schema.enum_ {
        values.retain(|value| value.0 != Value::Null);
    }
}

/// Applies a change to a schema and to every schema in it.
fn each(schema: &mut JSONSchemaProps, change: &impl Fn(&mut JSONSchemaProps)) {
    change(schema);
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        each(property, change);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(item)) => each(item, change),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(|item| each(item, change)),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        each(values, change);
    }
}

/// A quantity. The text of apimachinery's own type runs over two pages of `kubectl explain`.
pub(crate) fn quantity(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-int-or-string": true, "maxLength": 64})
}

/// A time to the second.
pub(crate) fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}

/// A time to the microsecond.
pub(crate) fn micro_time(generator: &mut SchemaGenerator) -> Schema {
    time(generator)
}

/// Conditions as apimachinery declares them for Go types (`metav1.Condition`): a map by type, bounded.
pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "lastTransitionTime": {
                    "type": "string",
                    "format": "date-time",
                    "description": "When the condition last changed from one status to another."
                },
                "message": {
                    "type": "string",
                    "maxLength": 32768,
                    "description": "What is the case, and what to do next, for humans."
                },
                "observedGeneration": {
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0,
                    "description": "The metadata.generation that the condition is about."
                },
                "reason": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                    "description": "One word for the cause, for programs; docs/api.md lists them."
                },
                "status": {
                    "type": "string",
                    "enum": ["True", "False", "Unknown"],
                    "description": "Whether the condition holds."
                },
                "type": {
                    "type": "string",
                    "maxLength": 316,
                    "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
                    "description": "What the condition is about."
                }
            }
        }
    })
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
