//! `docs/api.md`: the reference of the API, from the same schemas that the API server serves.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use populator_crd::v1alpha1::{ImageCondition, ImageReason, SyncCondition, SyncReason};

use super::GENERATED;

/// Renders the reference of all kinds.
pub(super) fn render(crds: &[CustomResourceDefinition]) -> Result<String> {
    let mut text = format!(
        "<!-- {GENERATED} -->\n# API reference\n\n\
         The same texts are in the cluster: `kubectl explain vmdiskimage.spec`. A field is optional unless it says \
         otherwise. Programs should go by conditions and their reasons; phases are a summary for humans.\n"
    );
    for crd in crds {
        kind(&mut text, crd)?;
    }
    Ok(text)
}

fn kind(text: &mut String, crd: &CustomResourceDefinition) -> Result<()> {
    let spec = &crd.spec;
    for version in &spec.versions {
        let schema = version
            .schema
            .as_ref()
            .and_then(|schema| schema.open_api_v3_schema.as_ref())
            .with_context(|| format!("{} has a version without a schema", spec.names.kind))?;
        write!(
            text,
            "\n## {} ({}/{})\n\n{}\n\nShort name `{}`, category `{}`.\n",
            spec.names.kind,
            spec.group,
            version.name,
            schema.description.as_deref().unwrap_or_default(),
            spec.names.short_names.iter().flatten().cloned().collect::<Vec<_>>().join("`, `"),
            spec.names.categories.iter().flatten().cloned().collect::<Vec<_>>().join("`, `"),
        )?;
        for part in ["spec", "status"] {
            let Some(schema) = schema.properties.as_ref().and_then(|properties| properties.get(part)) else {
                continue;
            };
            section(text, part, schema)?;
        }
    }
    reasons(text, &spec.names.kind)
}

fn section(text: &mut String, part: &str, schema: &JSONSchemaProps) -> Result<()> {
    let description = schema.description.as_deref().unwrap_or_default();
    write!(text, "\n### {part}\n\n{description}\n\n| field | type | meaning |\n|---|---|---|\n")?;
    rows(text, "", schema)?;
    let mut refused = Vec::new();
    rules("", schema, &mut refused);
    if !refused.is_empty() {
        writeln!(text, "\nThe API server refuses what breaks one of these:\n\n{}", refused.join("\n"))?;
    }
    Ok(())
}

/// A row for each property, its own properties below it. Conditions are apimachinery's and need no rows.
fn rows(text: &mut String, prefix: &str, schema: &JSONSchemaProps) -> Result<()> {
    let required = schema.required.as_deref().unwrap_or_default();
    for (name, property) in schema.properties.iter().flatten() {
        let mut meaning = cell(property.description.as_deref().unwrap_or_default());
        if required.contains(name) {
            meaning.push_str(" **Required.**");
        }
        if let Some(default) = &property.default {
            write!(
                meaning,
                " Default: `{}`.",
                default.0.as_str().map_or_else(|| default.0.to_string(), str::to_owned)
            )?;
        }
        writeln!(text, "| `{prefix}{name}` | {} | {meaning} |", type_of(property))?;
        rows(text, &format!("{prefix}{name}."), property)?;
    }
    Ok(())
}

fn type_of(schema: &JSONSchemaProps) -> String {
    if schema.x_kubernetes_int_or_string == Some(true) {
        return "quantity".to_owned();
    }
    if let Some(values) = &schema.enum_ {
        let values: Vec<String> =
            values.iter().map(|value| format!("`{}`", value.0.as_str().unwrap_or_default())).collect();
        return values.join(", ");
    }
    match (schema.type_.as_deref(), schema.format.as_deref(), &schema.items) {
        (Some("string"), Some("date-time"), _) => "time".to_owned(),
        (Some("string"), ..) => match schema.max_length {
            Some(length) => format!("string, at most {length}"),
            None => "string".to_owned(),
        },
        (Some("array"), _, Some(JSONSchemaPropsOrArray::Schema(item))) => {
            format!("list of {}", type_of(item))
        }
        (Some("integer"), format, _) => format.unwrap_or("integer").to_owned(),
        (Some(other), ..) => other.to_owned(),
        (None, ..) => String::new(),
    }
}

/// A line for each rule of a schema, those of its properties after its own.
fn rules(path: &str, schema: &JSONSchemaProps, lines: &mut Vec<String>) {
    for rule in schema.x_kubernetes_validations.iter().flatten() {
        let field = rule.field_path.as_deref().unwrap_or(path).trim_start_matches('.');
        let message = rule.message.as_deref().unwrap_or(&rule.rule);
        if field.is_empty() {
            lines.push(format!("- {message}"));
        } else {
            lines.push(format!("- `{field}`: {message}"));
        }
    }
    for (name, property) in schema.properties.iter().flatten() {
        rules(&format!("{path}.{name}"), property, lines);
    }
}

/// The closed vocabularies of a kind's conditions, which no schema carries.
fn reasons(text: &mut String, kind: &str) -> Result<()> {
    let (conditions, reasons): (Vec<_>, Vec<_>) = match kind {
        "VMDiskImage" => (
            ImageCondition::ALL.iter().map(|condition| (condition.as_str(), condition.describe())).collect(),
            ImageReason::ALL.iter().map(|reason| (reason.as_str(), reason.describe())).collect(),
        ),
        _ => (
            SyncCondition::ALL.iter().map(|condition| (condition.as_str(), condition.describe())).collect(),
            SyncReason::ALL.iter().map(|reason| (reason.as_str(), reason.describe())).collect(),
        ),
    };
    for (title, words) in [("condition", conditions), ("reason", reasons)] {
        writeln!(text, "\n| {title} | meaning |\n|---|---|")?;
        for (word, meaning) in words {
            writeln!(text, "| `{word}` | {meaning} |")?;
        }
    }
    Ok(())
}

/// A description as one cell of a table.
fn cell(description: &str) -> String {
    description.replace('\n', " ").replace('|', "\\|")
}
