//! The stages of a claim, and what holds claims there.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::ListParams;
use populator_crd::VMDiskSync;
use populator_crd::names::BIND_IMMEDIATELY_ANNOTATION;
use populator_crd::v1alpha1::SyncPhase;
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::machine::{Hold, Stopped};
use vmdisk_e2e::servers::Fault;
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::{Scene, until};

use super::Object;
use super::case::Case;
use crate::class::Class;
use crate::disk::Disk;

const SOON: Duration = Duration::from_mins(1);

/// Where a claim is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// In the gate's queue: there is a sync, and nothing else.
    Queued,
    /// Its prime has no volume yet.
    Provisioning,
    /// Its worker reads from the source.
    Filling,
    /// The volume is reserved for it, and it is not bound yet.
    Rebinding,
}

/// What holds claims at a stage.
pub(super) struct Held {
    stage: Stage,
    scene: Scene,
    /// Who has the only permit.
    first: Option<Disk>,
    hold: Option<Hold>,
    /// Classes whose volumes wait for the hold: one that binds at once, one that waits for the worker.
    classes: Vec<Class>,
    manager: Option<Stopped>,
}

impl Held {
    /// Prepares the hold, before there is any claim of a case.
    pub(super) async fn prepare(scene: &Scene, stage: Stage) -> Result<Self> {
        let mut held =
            Self { stage, scene: scene.clone(), first: None, hold: None, classes: Vec::new(), manager: None };
        match stage {
            Stage::Queued => {
                let first = Disk::publish(scene, "first", Fault::stalling()).await?;
                scene.create(&objects::claim("first", "first", "64Mi", Mode::Filesystem)?).await?;
                first.server.until_held(&first.published.path, SOON).await?;
                held.first = Some(first);
            }
            Stage::Provisioning => {
                held.hold = Some(Hold::new(&Instance::current()?, &scene.namespace)?);
                held.classes.push(Class::held(scene).await?);
                held.classes.push(Class::create(scene, "STORAGE_CLASS_WFFC", &[("hold", &scene.namespace)]).await?);
            }
            Stage::Filling | Stage::Rebinding => {}
        }
        Ok(held)
    }

    /// The fault of a case's source.
    pub(super) fn fault(&self) -> Fault {
        match self.stage {
            Stage::Queued | Stage::Provisioning => Fault::default(),
            Stage::Filling | Stage::Rebinding => Fault::stalling(),
        }
    }

    /// The claim of a case.
    pub(super) fn claim(&self, object: Object, name: &str) -> Result<PersistentVolumeClaim> {
        let [at_once, waiting] = self.classes.as_slice() else {
            return objects::claim(name, name, "64Mi", Mode::Filesystem);
        };
        if object != Object::Worker {
            return objects::claim_of(name, name, "64Mi", Mode::Filesystem, &at_once.name);
        }
        // Only where it is the consumer that the class waits for is there a worker before the volume.
        let mut claim = objects::claim_of(name, name, "64Mi", Mode::Filesystem, &waiting.name)?;
        claim.metadata.annotations = Some([(BIND_IMMEDIATELY_ANNOTATION.to_owned(), "true".to_owned())].into());
        Ok(claim)
    }

    /// Waits until every claim is at the stage.
    pub(super) async fn reach(&mut self, cases: &[Case]) -> Result<()> {
        match self.stage {
            Stage::Queued => self.until_each("is queued", cases, async |case| self.is_queued(case).await).await,
            Stage::Provisioning => {
                until::probed("the driver holds all volumes", SOON, async || {
                    let waiting = self.hold.as_ref().map_or(0, Hold::waiting);
                    ensure!(waiting == cases.len(), "it holds {waiting} of {}", cases.len());
                    Ok(Some(()))
                })
                .await
            }
            Stage::Filling => Self::until_stalled(cases).await,
            Stage::Rebinding => {
                Self::until_stalled(cases).await?;
                self.manager = Some(Stopped::new(&Instance::current()?, "kube-controller-manager")?);
                for case in cases {
                    case.disk.server.release(&case.disk.published.path).await?;
                }
                self.until_each("has a volume reserved", cases, async |case| self.is_reserved(case).await).await
            }
        }
    }

    /// Lets driver and binder go on.
    pub(super) fn let_machinery_go(&mut self) {
        self.hold = None;
        self.manager = None;
    }

    /// Lets the sources that stall go on.
    pub(super) async fn let_sources_go(&self, cases: &[Case], other: &Disk) -> Result<()> {
        let stalled: Vec<&Disk> = match self.stage {
            Stage::Queued => vec![other],
            Stage::Provisioning => Vec::new(),
            Stage::Filling | Stage::Rebinding => cases.iter().map(|case| &case.disk).collect(),
        };
        for disk in stalled {
            disk.server.heal(&disk.published.path).await?;
        }
        Ok(())
    }

    /// A claim that goes on, whatever is deleted: the one that the others queue behind, or a new one.
    pub(super) async fn other(&mut self) -> Result<Disk> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        let disk = Disk::publish(&self.scene, "other", Fault::default()).await?;
        self.scene.create(&objects::claim("other", "other", "64Mi", Mode::Filesystem)?).await?;
        Ok(disk)
    }

    /// Removes the classes.
    pub(super) async fn clean_up(self) -> Result<()> {
        for class in &self.classes {
            class.delete().await?;
        }
        Ok(())
    }

    async fn until_stalled(cases: &[Case]) -> Result<()> {
        for case in cases {
            case.disk.server.until_held(&case.disk.published.path, SOON).await?;
        }
        Ok(())
    }

    async fn until_each(&self, what: &str, cases: &[Case], is: impl AsyncFn(&Case) -> Result<bool>) -> Result<()> {
        for case in cases {
            let what = format!("the claim whose {:?} will be deleted {what}", case.object);
            until::probed(&what, SOON, async || Ok(is(case).await?.then_some(()))).await?;
        }
        Ok(())
    }

    async fn is_queued(&self, case: &Case) -> Result<bool> {
        let syncs = self.scene.api_in::<VMDiskSync>(&case.claim.namespace).list(&ListParams::default()).await?;
        let ours = syncs.into_iter().find(|sync| sync.spec.claim.uid == case.claim.uid);
        Ok(ours.and_then(|sync| sync.status?.phase) == Some(SyncPhase::Queued))
    }

    async fn is_reserved(&self, case: &Case) -> Result<bool> {
        let claim = self.scene.api_in::<PersistentVolumeClaim>(&case.claim.namespace).get(&case.claim.name).await?;
        ensure!(!objects::is_bound(&claim), "{} was bound, and nobody is there who binds", case.claim.name);
        case.claim.is_reserved(&self.scene.bed).await
    }
}
