//! What of a sample has to be another here: hosts, the CA behind them, the S3 region, credentials, classes and sizes. Pure, but for
//! reading the environment.

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use vmdisk_e2e::testing::objects::CA_CONFIG_MAP;
use vmdisk_e2e::testing::{Scene, bed, s3};

/// Requests that the test bed has room for, tenfold.
const CLAIM_SIZE: &str = "192Mi";
const BLANK_SIZE: &str = "64Mi";

/// Where things are on this test bed.
pub(crate) struct Places {
    /// The namespace of images.
    images: String,
    /// The namespace of claims, where the sample has two.
    lab: String,
    registry: String,
    private_registry: String,
    s3: String,
    files: String,
    immediate: String,
    waiting: String,
    credentials: Value,
}

impl Places {
    pub(crate) fn of_the_bed(scene: &Scene, lab: Option<&str>) -> Result<Self> {
        let host = |name: &str| -> Result<String> {
            let url = bed::variable(name)?;
            Ok(url.rsplit("//").next().unwrap_or(&url).trim_end_matches('/').to_owned())
        };
        let private_registry = bed::variable("PRIVATE_REGISTRY")?;
        let username = bed::variable("PRIVATE_REGISTRY_USERNAME")?;
        let password = bed::variable("PRIVATE_REGISTRY_PASSWORD")?;
        let login = json!({"auths": {&private_registry: {"username": username, "password": password}}});
        Ok(Self {
            images: scene.namespace.clone(),
            lab: lab.unwrap_or(&scene.namespace).to_owned(),
            registry: bed::variable("REGISTRY")?,
            s3: host("S3_ENDPOINT")?,
            files: host("HTTPS_URL")?,
            immediate: bed::variable("STORAGE_CLASS_IMMEDIATE")?,
            waiting: bed::variable("STORAGE_CLASS_WFFC")?,
            credentials: json!({
                "registry-credentials": {".dockerconfigjson": login.to_string()},
                "s3-credentials": {
                    "AWS_ACCESS_KEY_ID": bed::variable("S3_ACCESS_KEY")?,
                    "AWS_SECRET_ACCESS_KEY": bed::variable("S3_SECRET_KEY")?,
                    // s3://BUCKET/KEY has no host to replace: this is where it is said.
                    "AWS_ENDPOINT_URL": bed::variable("S3_ENDPOINT")?,
                },
                "foo-bar": {"accessKeyId": bed::variable("S3_ACCESS_KEY")?, "secretKey": bed::variable("S3_SECRET_KEY")?},
                "web-credentials": {"username": super::publish::WEB_USER, "password": super::publish::WEB_PASSWORD},
            }),
            private_registry,
        })
    }

    fn namespace(&self, named: &str) -> Result<&str> {
        match named {
            "images" => Ok(&self.images),
            "lab" => Ok(&self.lab),
            other => bail!("samples know the namespaces images and lab, not {other}"),
        }
    }

    /// The URL with this test bed's host.
    fn url(&self, url: &str) -> Result<String> {
        let (scheme, rest) = url.split_once("://").context("a URL has a scheme")?;
        let (host, path) = rest.split_once('/').context("a URL has a path")?;
        let host = match (scheme, host) {
            ("s3", bucket) => bucket,
            ("oci", _) => &self.private_registry,
            ("docker", _) => &self.registry,
            (_, host) if host.starts_with("s3.") => &self.s3,
            _ => &self.files,
        };
        Ok(format!("{scheme}://{host}/{path}"))
    }
}

/// The document as it is created here; `None` where it is not ours to create.
pub(crate) fn document(mut document: Value, places: &Places) -> Result<Option<Value>> {
    let name = document["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if let Some(named) = document["metadata"]["namespace"].as_str() {
        if named == "sync-operator" {
            // The policy of everybody.
            return Ok(None);
        }
        document["metadata"]["namespace"] = json!(places.namespace(named)?);
    }
    match document["kind"].as_str().unwrap_or_default() {
        "Namespace" => return Ok(None),
        "VMDiskImage" => image(&mut document["spec"], places)?,
        "PersistentVolumeClaim" => claim(&mut document, places)?,
        "Secret" => {
            let credentials = places.credentials.get(&name).with_context(|| format!("no credentials for {name}"))?;
            document["stringData"] = credentials.clone();
        }
        "ConfigMap" => {
            let ca = std::fs::read_to_string(bed::path("CA_FILE")?)?;
            document["data"] = json!({"ca.crt": ca});
        }
        "ReferenceGrant" => {
            for from in document["spec"]["from"].as_array_mut().context("a grant has a from")? {
                let namespace = from["namespace"].as_str().context("a grant's from has a namespace")?;
                from["namespace"] = json!(places.namespace(namespace)?);
            }
        }
        other => bail!("a sample has a {other}, which this test does not know"),
    }
    Ok(Some(document))
}

fn image(spec: &mut Value, places: &Places) -> Result<()> {
    if let Some(url) = spec.get("url").and_then(Value::as_str) {
        spec["url"] = json!(places.url(url)?);
        if spec.get("region").is_some() {
            spec["region"] = json!(s3::REGION);
        }
        if spec.get("certConfigMap").is_none() {
            spec["certConfigMap"] = json!(CA_CONFIG_MAP);
        }
    } else {
        spec["diskSize"] = json!(BLANK_SIZE);
    }
    Ok(())
}

fn claim(claim: &mut Value, places: &Places) -> Result<()> {
    let annotations = &mut claim["metadata"]["annotations"];
    let waits = annotations.get(populator_crd::names::BIND_IMMEDIATELY_ANNOTATION).is_some();
    if let Some(namespace) = annotations.get_mut(populator_crd::names::IMAGE_NAMESPACE_ANNOTATION) {
        let named = namespace.as_str().context("an annotation is text")?.to_owned();
        *namespace = json!(places.namespace(&named)?);
    }
    claim["spec"]["storageClassName"] = json!(if waits { &places.waiting } else { &places.immediate });
    claim["spec"]["resources"]["requests"]["storage"] = json!(CLAIM_SIZE);
    Ok(())
}
