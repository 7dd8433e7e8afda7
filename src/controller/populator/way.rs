//! Which way a claim is filled, whether that is its turn to try, and what its prime is made of.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{Resource, ResourceExt};
use populator_crd::{
    names, quantity,
    v1alpha1::{Purpose, Route, RouteKind, SyncPhase, TargetFacts, VMDiskImage, VMDiskSync, VMDiskSyncStatus},
};
use volume_populator::{Context, PrimeSpec};

use super::{CallbackResult, DiskPopulator};
use crate::{
    golden,
    pod::{Order, Task},
    policy::Policy,
    route::{self, Choice},
    sync::verdict::{self, Question, Verdict},
    world::{golden as golden_of, phase},
};

impl DiskPopulator {
    /// Which way the claim is filled.
    pub(super) fn choose(
        &self,
        context: &Context<VMDiskImage>,
        purpose: Purpose,
        status: &VMDiskSyncStatus,
        target: &TargetFacts,
    ) -> CallbackResult<Choice> {
        let image = &*context.source;
        let preloads = image.spec.storage_class.is_some();
        let masters =
            if preloads { self.world.masters(&context.source_namespace, &image.name_any()) } else { Vec::new() };
        let told = self.world.preloads.of(&image.uid().unwrap_or_default()).filter(|_| preloads);
        let question = route::Question {
            image,
            purpose,
            status,
            target,
            class: context.class.as_deref(),
            masters: &masters,
            told: told.as_ref(),
        };
        Ok(route::choose(&question)?)
    }

    /// What the prime is made of.
    pub(super) fn prime_spec(&self, sync: &VMDiskSync, context: &Context<VMDiskImage>) -> PrimeSpec {
        let image = &*context.source;
        let route = sync.status.as_ref().and_then(|status| status.route.as_ref());
        let from = route.and_then(|route| route.from.as_ref());
        // Of those that are cut from a snapshot alone: it takes a walk through the records.
        let restore_size = from.and_then(|from| {
            let masters = self.world.masters(&context.source_namespace, &image.name_any());
            let mut all = masters.iter().filter_map(|master| golden_of(master));
            all.find(|golden| golden.snapshot.as_ref() == Some(from))?.restore_size
        });
        PrimeSpec {
            owner: sync.controller_owner_ref(&()),
            labels: [
                (names::MANAGED_BY_LABEL.to_owned(), names::MANAGER.to_owned()),
                (names::IMAGE_UID_LABEL.to_owned(), image.uid().unwrap_or_default()),
            ]
            .into(),
            data_source: route.and_then(route::data_source),
            at_least_bytes: restore_size,
            ..PrimeSpec::default()
        }
    }

    /// What the image's other syncs know of it. As long as nobody was ever filled from it, one at a time tries.
    pub(super) fn verdict(
        &self,
        sync: &VMDiskSync,
        route: &Route,
        target: &TargetFacts,
        policy: &Policy,
        others: &[Arc<VMDiskSync>],
        now: Timestamp,
    ) -> Verdict {
        // What uses no source cannot tell anything of one.
        if route.kind != RouteKind::Fetch {
            return Verdict::Go;
        }
        let generation = sync.status.as_ref().and_then(|status| status.image_generation);
        let generation = generation.unwrap_or(sync.spec.image.generation);
        let (image_uid, sync_uid) = (&sync.spec.image.uid, sync.metadata.uid.as_deref().unwrap_or_default());
        let is_proven = self.world.ledger.is_proven(image_uid, generation);
        // Asked of the few that are admitted, not of the many that wait.
        let syncing = others.iter().filter(|sync| phase(sync) == Some(SyncPhase::Syncing)).filter_map(|sync| {
            let uid = sync.uid()?;
            self.world.worker(&sync.spec.claim.uid, &uid, now).has_started().then_some(uid)
        });
        let at_work = &syncing.collect();
        let question = Question { sync_uid, generation, target, is_proven, at_work, policy, now };
        let verdict = verdict::judge(&question, others.iter().map(|sync| &**sync));
        if verdict != Verdict::Go || is_proven || phase(sync) == Some(SyncPhase::Syncing) {
            return verdict;
        }
        match self.trials.enter(image_uid, sync_uid, others) {
            None => Verdict::Go,
            Some(other) => Verdict::Wait { on: other, failure: None, until: None },
        }
    }
}

/// What the worker does on the route that was latched.
pub(super) fn task(order: Order<'_>) -> Task<'_> {
    let cut = order.status.route.as_ref().is_some_and(|route| route::is_cut(route.kind));
    if cut { Task::Finish(order) } else { Task::Fill(order) }
}

/// What a claim is for: its own maker, or to be cut from.
pub(super) fn purpose_of(context: &Context<VMDiskImage>) -> Purpose {
    if golden::objects::is_master(&context.claim, &context.source) { Purpose::Master } else { Purpose::Claim }
}

/// What a claim offers to a disk.
pub(super) fn target_facts(claim: &PersistentVolumeClaim) -> TargetFacts {
    let spec = claim.spec.as_ref();
    let requests = spec.and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
    let requested = requests.and_then(|requests| quantity::bytes(requests.get("storage")?).ok());
    let volume_mode = spec.and_then(|spec| spec.volume_mode.clone()).unwrap_or_else(|| "Filesystem".into());
    TargetFacts {
        storage_class: spec.and_then(|spec| spec.storage_class_name.clone()),
        volume_mode,
        requested_bytes: requested.unwrap_or_default(),
    }
}
