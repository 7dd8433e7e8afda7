//! What the actor keeps account of: how often each image was fetched, what each volume holds, and what must never be.
//! Pure; the actor asks it, and the judge reads it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use vmdisk_wire::{ExitClass, Format, INTERRUPTED, Report, SourceFacts};

/// How a worker of the actor's ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The disk is whole.
    Done,
    /// The connection broke.
    Transient,
    /// The source does not exist.
    Missing,
    /// The source refuses us.
    Denied,
    /// The image is no disk.
    Malformed,
    /// The bytes are not those that were promised.
    Mismatch,
    /// The kubelet evicts the pod.
    Evicted,
    /// The kernel kills the container.
    Killed,
    /// It works until it is released ([`Account::release`]) or deleted.
    Hangs,
}

/// What the containers of a pod say when they have ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The container's exit code.
    pub exit_code: i32,
    /// The container's reason.
    pub reason: &'static str,
    /// The termination message.
    pub message: String,
    /// `status.reason` of the pod.
    pub pod_reason: Option<&'static str>,
    /// Whether the volume holds the whole disk.
    pub whole: bool,
}

impl End {
    /// What the pod's status says of it. `Hangs` is here a worker that was told to stop.
    #[must_use]
    pub fn verdict(self, image: &str, bytes: u64) -> Verdict {
        let class = match self {
            Self::Done => ExitClass::Done,
            Self::Transient | Self::Hangs | Self::Evicted | Self::Killed => ExitClass::Transient,
            Self::Missing => ExitClass::SourceMissing,
            Self::Denied => ExitClass::Denied,
            Self::Malformed => ExitClass::Malformed,
            Self::Mismatch => ExitClass::VerificationFailed,
        };
        let reason = match self {
            Self::Done => "",
            Self::Transient => "ConnectionReset",
            Self::Missing => "NotFound",
            Self::Denied => "Forbidden",
            Self::Malformed => "NotAnImage",
            Self::Mismatch => "DigestMismatch",
            Self::Evicted | Self::Killed | Self::Hangs => INTERRUPTED,
        };
        let report = Report {
            class,
            reason: reason.to_owned(),
            message: if self == Self::Done { String::new() } else { format!("{image} was played by the stage") },
            source: SourceFacts {
                digest: (self != Self::Missing).then(|| format!("etag-of-{image}")),
                checksum: None,
                format: Some(Format::Raw),
                virtual_size: Some(bytes),
                size: Some(bytes),
            },
            bytes_fetched: self.bytes(bytes),
            bytes_written: self.bytes(bytes),
            ..Report::default()
        };
        // Whoever is killed from outside has no code of the contract.
        let (exit_code, container, pod_reason) = match self {
            Self::Killed => (137, "OOMKilled", None),
            Self::Evicted => (137, "Error", Some("Evicted")),
            Self::Done => (0, "Completed", None),
            _ => (i32::from(class.code()), "Error", None),
        };
        let has_report = !matches!(self, Self::Killed | Self::Evicted);
        Verdict {
            exit_code,
            reason: container,
            message: if has_report { report.to_message() } else { String::new() },
            pod_reason,
            whole: self == Self::Done,
        }
    }

    /// The bytes that such an attempt pays for.
    const fn bytes(self, size: u64) -> u64 {
        match self {
            Self::Done | Self::Malformed | Self::Mismatch => size,
            Self::Missing | Self::Denied => 0,
            Self::Transient | Self::Evicted | Self::Killed | Self::Hangs => size / 2,
        }
    }
}

/// What a volume holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The image whose disk it holds as a whole, and nothing of another.
    pub whole_of: Option<String>,
    /// A worker wrote to it.
    pub written: bool,
}

/// One worker's use of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// The worker.
    pub pod_uid: String,
    /// The bytes that it asked for.
    pub bytes: u64,
}

/// The account.
#[derive(Debug, Default)]
pub struct Account {
    scripts: BTreeMap<String, VecDeque<End>>,
    fetches: BTreeMap<String, Vec<Fetch>>,
    released: BTreeSet<String>,
    volumes: BTreeMap<String, Contents>,
    /// The volumes that were ever reserved for each claim, by the claim's UID.
    reserved: BTreeMap<String, BTreeSet<String>>,
    violations: Vec<String>,
}

/// The size of every image.
pub const IMAGE_BYTES: u64 = 1 << 20;

impl Account {
    /// Says how the workers for an image end, one after the other; the last end is that of all further ones. An image
    /// without a script is fetched well.
    pub fn script(&mut self, image: &str, ends: impl IntoIterator<Item = End>) {
        self.scripts.insert(image.to_owned(), ends.into_iter().collect());
    }

    /// A worker begins with an image; `network` when it fetches it.
    pub fn begin(&mut self, image: &str, pod_uid: &str, network: bool) -> End {
        let end = match self.scripts.get_mut(image) {
            Some(ends) if ends.len() > 1 => ends.pop_front(),
            Some(ends) => ends.front().copied(),
            None => None,
        };
        let end = end.unwrap_or(End::Done);
        if network {
            let fetch = Fetch { pod_uid: pod_uid.to_owned(), bytes: end.bytes(IMAGE_BYTES) };
            self.fetches.entry(image.to_owned()).or_default().push(fetch);
        }
        end
    }

    /// Lets workers go on that hang with this image.
    pub fn release(&mut self, image: &str) {
        self.released.insert(image.to_owned());
    }

    /// Whether workers that hang with this image may go on.
    #[must_use]
    pub fn is_released(&self, image: &str) -> bool {
        self.released.contains(image)
    }

    /// A worker has ended, with this volume mounted.
    pub fn wrote(&mut self, volume: &str, image: &str, whole: bool) {
        let contents = self.volumes.entry(volume.to_owned()).or_default();
        contents.written = true;
        contents.whole_of = whole.then(|| image.to_owned());
    }

    /// A volume was seen that is reserved for a claim.
    pub fn reserved(&mut self, volume: &str, claim_uid: &str) {
        self.reserved.entry(claim_uid.to_owned()).or_default().insert(volume.to_owned());
    }

    /// What must never be has been seen.
    pub fn violation(&mut self, what: String) {
        self.violations.push(what);
    }

    /// What was seen that must never be, and forgets it.
    pub fn take_violations(&mut self) -> Vec<String> {
        std::mem::take(&mut self.violations)
    }

    /// Every use of the network for an image.
    #[must_use]
    pub fn fetches(&self, image: &str) -> &[Fetch] {
        self.fetches.get(image).map_or(&[], Vec::as_slice)
    }

    /// What a volume holds.
    #[must_use]
    pub fn contents(&self, volume: &str) -> Contents {
        self.volumes.get(volume).cloned().unwrap_or_default()
    }

    /// The volumes that were ever reserved for a claim.
    #[must_use]
    pub fn ever_reserved(&self, claim_uid: &str) -> BTreeSet<String> {
        self.reserved.get(claim_uid).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
#[path = "account_tests.rs"]
mod tests;
