//! What an image's claims and its status need to know of its golden data.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use populator_crd::v1alpha1::{GoldenData, ImageReason, SourceFacts};

/// Where the preload of one image stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// The generation of the image that this is about.
    pub generation: i64,
    /// Whether claims are cut from golden data, now or soon, and wait for it.
    pub cuts: bool,
    /// The status of the condition Preloaded.
    pub status: &'static str,
    /// Its reason.
    pub reason: ImageReason,
    /// What is going on, and what to do next.
    pub message: String,
    /// What claims are cut from.
    pub golden: Option<GoldenData>,
    /// What the source turned out to be.
    pub source: Option<SourceFacts>,
    /// Why it could not be read.
    pub unresolved: Option<(ImageReason, String)>,
}

impl Told {
    /// Nothing is preloaded.
    #[must_use]
    pub fn nothing(generation: i64) -> Self {
        Self {
            generation,
            cuts: false,
            status: "False",
            reason: ImageReason::NotRequested,
            message: "no storageClass is set: claims are filled when they ask".to_owned(),
            golden: None,
            source: None,
            unresolved: None,
        }
    }
}

/// Where all preloads stand, by the image's UID.
#[derive(Default)]
pub struct Preloads(Mutex<HashMap<String, Told>>);

impl Preloads {
    /// What is known of an image's preload; `None` until it was looked at once.
    #[must_use]
    pub fn of(&self, image_uid: &str) -> Option<Told> {
        self.all().get(image_uid).cloned()
    }

    /// Tells; says whether it is news.
    pub fn tell(&self, image_uid: &str, told: &Told) -> bool {
        self.all().insert(image_uid.to_owned(), told.clone()).as_ref() != Some(told)
    }

    /// An image is gone.
    pub fn forget(&self, image_uid: &str) {
        self.all().remove(image_uid);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Told>> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
