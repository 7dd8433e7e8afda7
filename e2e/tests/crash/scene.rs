//! One claim on a stage: what its user does with it, and what there is of it.

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use populator_crd::v1alpha1::{SourceType, SyncPhase};
use populator_crd::{VMDiskImage, VMDiskImageSpec, VMDiskSync, names};
use serde_json::json;
use vmdisk_e2e::stage::actor::account::End;
use vmdisk_e2e::stage::actor::{DRIVER, NODES, persist};
use vmdisk_e2e::stage::{LONG, Stage};
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::until;

use crate::lives::{Act, Ending, Life, When};

/// The image's namespace.
pub(crate) const HOME: &str = "lab";
/// The namespace that may use images of [`HOME`].
pub(crate) const ABROAD: &str = "tenant";

const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const REFERENCE_GRANT: &str = "gateway.networking.k8s.io/v1beta1";

/// Makes what all claims of a stage share.
pub(crate) async fn prepare(stage: &Stage) -> Result<()> {
    for namespace in [HOME, ABROAD] {
        stage.namespace(namespace).await?;
    }
    let grant = json!({
        "apiVersion": REFERENCE_GRANT, "kind": "ReferenceGrant",
        "metadata": {"name": "images", "namespace": HOME},
        "spec": {
            "from": [{"group": "", "kind": "PersistentVolumeClaim", "namespace": ABROAD}],
            "to": [{"group": "pelotech.ot", "kind": "VMDiskImage"}],
        },
    });
    let resource = kube::core::ApiResource {
        group: "gateway.networking.k8s.io".to_owned(),
        version: "v1beta1".to_owned(),
        api_version: REFERENCE_GRANT.to_owned(),
        kind: "ReferenceGrant".to_owned(),
        plural: "referencegrants".to_owned(),
    };
    let api: Api<kube::core::DynamicObject> = Api::namespaced_with(stage.client.clone(), HOME, &resource);
    api.patch("images", &PatchParams::apply("vmdisk-stage").force(), &Patch::Apply(&grant)).await?;
    Ok(())
}

/// One claim.
pub(crate) struct Scene<'a> {
    stage: &'a Stage,
    life: &'a Life,
    /// The name of claim and image.
    pub(crate) name: String,
    /// The claim's UID.
    pub(crate) uid: String,
}

/// What there is of a claim.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    /// The claim.
    pub(crate) claim: Option<PersistentVolumeClaim>,
    /// Its records.
    pub(crate) syncs: Vec<VMDiskSync>,
    /// Primes, in any namespace.
    pub(crate) primes: Vec<PersistentVolumeClaim>,
    /// Workers, in any namespace.
    pub(crate) workers: Vec<Pod>,
    /// Volumes that are reserved for it or for a prime of its, or were made for one.
    pub(crate) volumes: Vec<PersistentVolume>,
}

impl<'a> Scene<'a> {
    /// Creates image and claim.
    pub(crate) async fn begin(stage: &'a Stage, life: &'a Life, name: &str) -> Result<Self> {
        stage.actor.account().script(name, life.ends.iter().copied());
        let spec = if life.blank {
            VMDiskImageSpec {
                source_type: Some(SourceType::Blank),
                disk_size: Some(Quantity("1Gi".to_owned())),
                ..VMDiskImageSpec::default()
            }
        } else {
            VMDiskImageSpec { url: Some(format!("http://images.stage.invalid/{name}")), ..VMDiskImageSpec::default() }
        };
        let post = PostParams::default();
        let images: Api<VMDiskImage> = Api::namespaced(stage.client.clone(), HOME);
        let image = VMDiskImage::new(name, spec);
        existing(persist(|| images.create(&post, &image)).await).context("cannot create the image")?;
        let mut claim = objects::claim_of(name, name, "1Gi", Mode::Filesystem, life.class)?;
        let annotations = claim.annotations_mut();
        if life.foreign {
            annotations.insert(names::IMAGE_NAMESPACE_ANNOTATION.to_owned(), HOME.to_owned());
        }
        if life.at_once {
            annotations.insert(names::BIND_IMMEDIATELY_ANNOTATION.to_owned(), "true".to_owned());
        }
        let mut scene = Self { stage, life, name: name.to_owned(), uid: String::new() };
        let claims = scene.claims();
        existing(persist(|| claims.create(&post, &claim)).await).context("cannot create the claim")?;
        let stored = persist(|| claims.get(name)).await?;
        scene.uid = stored.uid().context("a stored claim has a UID")?;
        Ok(scene)
    }

    /// What the account calls the image.
    pub(crate) fn image(&self) -> &str {
        if self.life.blank { "blank" } else { &self.name }
    }

    fn client(&self) -> Client {
        self.stage.client.clone()
    }

    fn claims(&self) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client(), if self.life.foreign { ABROAD } else { HOME })
    }

    /// Does what the user does, and waits for the end. Gives what there is then, and the most attempts that were counted.
    pub(crate) async fn live(&self) -> Result<(Sight, i32)> {
        for (when, act) in self.life.moves {
            until::probed(&format!("{when:?}, for {act:?}"), LONG, async || {
                Ok(self.has_come(*when, &self.look().await?).then_some(()))
            })
            .await?;
            self.act(*act).await?;
        }
        self.settle().await
    }

    /// Waits for the end.
    pub(crate) async fn settle(&self) -> Result<(Sight, i32)> {
        let mut attempts = 0;
        let mut last = Sight::default();
        let what = format!("the life ends as {:?}", self.life.ending);
        let outcome = until::probed(&what, LONG, async || {
            let sight = self.look().await?;
            attempts = attempts.max(sight.attempts());
            let over = self.is_over(&sight);
            last = sight;
            Ok(over.then_some(()))
        })
        .await;
        match outcome {
            Ok(()) => Ok((last, attempts)),
            Err(error) => Err(error.context(format!("what there is: {last}"))),
        }
    }

    fn has_come(&self, when: When, sight: &Sight) -> bool {
        let status = sight.syncs.first().and_then(|sync| sync.status.as_ref());
        let container = |pod: &Pod| pod.status.as_ref()?.container_statuses.as_ref()?.first()?.state.clone();
        let worker = sight.workers.first().and_then(container);
        match when {
            When::Claimed => sight.claim.is_some(),
            When::Phase(phase) => status.and_then(|status| status.phase) == Some(phase),
            When::FailedBy(class) => {
                status.and_then(|status| status.last_failure.as_ref()).map(|failure| failure.class) == Some(class)
            }
            When::Primed => !sight.primes.is_empty(),
            When::Working => worker.is_some_and(|state| state.running.is_some()),
            // One that is looked at too late has done its work too.
            When::Worked => worker.is_some_and(|state| state.terminated.is_some()) || self.is_reserved(sight),
            When::HandedOver => self.is_reserved(sight),
            When::Cleared => sight.primes.is_empty() && sight.workers.is_empty(),
        }
    }

    fn is_reserved(&self, sight: &Sight) -> bool {
        sight.volumes.iter().any(|volume| claim_uid(volume) == self.uid)
    }

    async fn act(&self, act: Act) -> Result<()> {
        let now = DeleteParams::default();
        match act {
            Act::SelectNode => {
                let patch = json!({"metadata": {"annotations": {SELECTED_NODE: NODES[1]}}});
                let (claims, patch, params) = (self.claims(), Patch::Merge(&patch), PatchParams::default());
                persist(|| claims.patch(&self.name, &params, &patch)).await?;
            }
            Act::Heal => self.stage.actor.account().script(&self.name, [End::Done]),
            Act::DeleteClaim => {
                let claims = self.claims();
                gone(persist(|| claims.delete(&self.name, &now)).await)?;
            }
            Act::DeleteImage => {
                let images: Api<VMDiskImage> = Api::namespaced(self.client(), HOME);
                gone(persist(|| images.delete(&self.name, &now)).await)?;
            }
        }
        Ok(())
    }

    fn is_over(&self, sight: &Sight) -> bool {
        let phases: Vec<_> = sight.syncs.iter().filter_map(|sync| sync.status.as_ref()?.phase).collect();
        let cleared = sight.primes.is_empty() && sight.workers.is_empty();
        cleared
            && match self.life.ending {
                // A volume that is on its way out is gone in a moment; one that stays is a leak.
                Ending::Bound => {
                    let bound = sight.claim.as_ref().is_some_and(objects::is_bound) && sight.volumes.len() == 1;
                    // What has failed for good need not be waited for: it is judged.
                    bound && phases == [SyncPhase::Succeeded] || phases == [SyncPhase::Failed]
                }
                Ending::Failed => phases == [SyncPhase::Failed] && sight.volumes.is_empty(),
                Ending::Gone => {
                    sight.claim.is_none()
                        && sight.volumes.is_empty()
                        && phases.len() == sight.syncs.len()
                        && phases.iter().all(|phase| phase.is_final())
                }
            }
    }

    /// Looks at everything of the claim, past every cache.
    pub(crate) async fn look(&self) -> Result<Sight> {
        let ours = ListParams::default().labels(&format!("{}={}", names::CLAIM_UID_LABEL, self.uid));
        let prime = names::prime(&self.uid);
        let primes: Api<PersistentVolumeClaim> = Api::all(self.client());
        let workers: Api<Pod> = Api::all(self.client());
        let volumes: Api<PersistentVolume> = Api::all(self.client());
        let syncs: Api<VMDiskSync> = Api::all(self.client());
        let everything = ListParams::default();
        let (claims, claim) = (self.claims(), self.name.as_str());
        let (claim, primes, workers, volumes, syncs) = tokio::try_join!(
            claims.get_opt(claim),
            primes.list(&ours),
            workers.list(&ours),
            volumes.list(&everything),
            syncs.list(&ours),
        )?;
        let concerns = |volume: &PersistentVolume| {
            let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
            let reserved = claim_uid(volume) == self.uid;
            reserved || reference.is_some_and(|reference| reference.name.as_deref() == Some(&prime))
        };
        Ok(Sight {
            claim: claim.filter(|claim| claim.uid().as_deref() == Some(&self.uid)),
            syncs: syncs.items,
            primes: primes.items,
            workers: workers.items,
            volumes: volumes.items.into_iter().filter(concerns).collect(),
        })
    }

    /// Removes everything, without a controller.
    pub(crate) async fn end(&self) -> Result<()> {
        let now = DeleteParams::default();
        let images: Api<VMDiskImage> = Api::namespaced(self.client(), HOME);
        let syncs: Api<VMDiskSync> = Api::namespaced(self.client(), HOME);
        let sight = until::probed("what there is of a claim", LONG, async || self.look().await.map(Some)).await?;
        let background = DeleteParams::background();
        for sync in &sight.syncs {
            let name = sync.name_any();
            gone(persist(|| syncs.delete(&name, &background)).await)?;
        }
        for pod in &sight.workers {
            let pods: Api<Pod> = Api::namespaced(self.client(), &pod.namespace().unwrap_or_default());
            let name = pod.name_any();
            gone(persist(|| pods.delete(&name, &now)).await)?;
        }
        for prime in &sight.primes {
            let primes: Api<PersistentVolumeClaim> =
                Api::namespaced(self.client(), &prime.namespace().unwrap_or_default());
            let name = prime.name_any();
            gone(persist(|| primes.delete(&name, &now)).await)?;
        }
        let claims = self.claims();
        gone(persist(|| claims.delete(&self.name, &now)).await)?;
        gone(persist(|| images.delete(&self.name, &now)).await)?;
        let volumes: Api<PersistentVolume> = Api::all(self.client());
        for volume in &sight.volumes {
            let patch = json!({"spec": {"persistentVolumeReclaimPolicy": "Delete"}});
            let (name, patch, params) = (volume.name_any(), Patch::Merge(&patch), PatchParams::default());
            gone(persist(|| volumes.patch(&name, &params, &patch)).await)?;
        }
        until::probed("nothing is left of the claim", LONG, async || {
            let sight = self.look().await?;
            Ok(sight.is_empty().then_some(()))
        })
        .await
    }
}

/// What is there already was made by a request whose answer was lost.
fn existing<T>(answer: kube::Result<T>) -> Result<()> {
    match answer {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn gone<T>(answer: kube::Result<T>) -> Result<()> {
    match answer {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => bail!("cannot remove what a test made: {error}"),
    }
}

/// The UID of the claim that a volume is reserved for.
pub(crate) fn claim_uid(volume: &PersistentVolume) -> &str {
    let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    reference.and_then(|reference| reference.uid.as_deref()).unwrap_or_default()
}

impl Sight {
    /// The attempts that the records count.
    pub(crate) fn attempts(&self) -> i32 {
        self.syncs.iter().filter_map(|sync| sync.status.as_ref()).map(|status| status.attempt).sum()
    }

    fn is_empty(&self) -> bool {
        self.claim.is_none()
            && self.syncs.is_empty()
            && self.primes.is_empty()
            && self.workers.is_empty()
            && self.volumes.is_empty()
    }
}

impl std::fmt::Display for Sight {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let phase = |claim: &PersistentVolumeClaim| claim.status.as_ref().and_then(|status| status.phase.clone());
        let going = |meta: &kube::api::ObjectMeta| if meta.deletion_timestamp.is_some() { ", going" } else { "" };
        match &self.claim {
            Some(claim) => write!(formatter, "claim {:?}{}", phase(claim), going(&claim.metadata))?,
            None => write!(formatter, "no claim")?,
        }
        for sync in &self.syncs {
            let status = sync.status.clone().unwrap_or_default();
            let failure = status.last_failure.as_ref().map(|failure| failure.reason.as_str());
            write!(formatter, "; sync {:?} attempt {} {failure:?}", status.phase, status.attempt)?;
        }
        for prime in &self.primes {
            write!(formatter, "; prime {:?}{}", phase(prime), going(&prime.metadata))?;
        }
        for worker in &self.workers {
            let phase = worker.status.as_ref().and_then(|status| status.phase.clone());
            write!(formatter, "; worker {phase:?}{}", going(&worker.metadata))?;
        }
        for volume in &self.volumes {
            let phase = volume.status.as_ref().and_then(|status| status.phase.clone());
            let policy = volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.clone());
            let spec = volume.spec.as_ref().and_then(|spec| spec.claim_ref.clone()).unwrap_or_default();
            write!(
                formatter,
                "; volume of {DRIVER} {phase:?} {policy:?} for {:?}{}",
                spec.name,
                going(&volume.metadata)
            )?;
        }
        Ok(())
    }
}
