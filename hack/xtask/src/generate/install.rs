//! `install.yaml`: the kustomization as one file, for people who have no kustomize at hand.
//!
//! Our kustomizations only list files and name images, so this is a concatenation with the images replaced. It works
//! on the text: the comments that give the reason of each RBAC rule are in the installed file too. Whatever else
//! kustomize could do is refused by name rather than ignored, and an end-to-end test compares the result with that of
//! `kubectl kustomize`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::GENERATED;

/// The part of a kustomization that we use.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Kustomization {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    images: Vec<Image>,
    /// Tells kustomize that the worker's image is in an environment variable; [`replace`] knows it.
    #[serde(default, rename = "configurations")]
    _configurations: Vec<String>,
}

/// A replacement of an image.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Image {
    name: String,
    new_name: Option<String>,
    new_tag: Option<String>,
    digest: Option<String>,
}

impl Image {
    fn replacement(&self) -> String {
        let name = self.new_name.as_ref().unwrap_or(&self.name);
        match (&self.digest, &self.new_tag) {
            (Some(digest), _) => format!("{name}@{digest}"),
            (None, Some(tag)) => format!("{name}:{tag}"),
            (None, None) => name.clone(),
        }
    }
}

/// Renders the kustomization in a directory.
pub(super) fn render(directory: &Path) -> Result<String> {
    let mut text = format!("# {GENERATED}\n");
    for document in build(directory)? {
        text.push_str("---\n");
        text.push_str(&document);
    }
    Ok(text)
}

/// The documents of a kustomization, in the order in which its files are listed.
fn build(directory: &Path) -> Result<Vec<String>> {
    let file = directory.join("kustomization.yaml");
    let kustomization: Kustomization = serde_saphyr::from_str(&read(&file)?)
        .with_context(|| format!("{} uses more of kustomize than `cargo xtask gen` knows", file.display()))?;
    let mut documents = Vec::new();
    for resource in &kustomization.resources {
        let path: PathBuf = directory.join(resource);
        if path.is_dir() {
            documents.extend(build(&path)?);
        } else {
            documents.extend(split(&read(&path)?));
        }
    }
    for image in &kustomization.images {
        let mut found = false;
        for document in &mut documents {
            found |= replace(document, image);
        }
        if !found {
            bail!("{} replaces the image {:?}, which no manifest names", file.display(), image.name);
        }
    }
    Ok(documents)
}

/// The YAML documents of a file, comments kept, empty ones left out.
fn split(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for line in text.lines() {
        if line == "---" {
            documents.push(String::new());
        } else if let Some(document) = documents.last_mut() {
            document.push_str(line);
            document.push('\n');
        }
    }
    documents.retain(|document| document.lines().any(|line| !line.trim().is_empty() && !line.starts_with('#')));
    documents
}

/// Replaces an image where a container or an environment variable names it; says whether there was one.
fn replace(document: &mut String, image: &Image) -> bool {
    let mut found = false;
    let lines: Vec<String> = document
        .lines()
        .map(|line| {
            for key in ["image: ", "value: "] {
                if let Some((before, value)) = line.split_once(key)
                    && value == image.name
                    && before.chars().all(|c| c == ' ' || c == '-')
                {
                    found = true;
                    return format!("{before}{key}{}", image.replacement());
                }
            }
            line.to_owned()
        })
        .collect();
    *document = lines.join("\n") + "\n";
    found
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
#[path = "install_tests.rs"]
mod tests;
