//! The lives of a claim that are tried: what its user does, how its workers end, and how it must end itself.

use populator_crd::v1alpha1::{FailureClass, SyncPhase};
use vmdisk_e2e::stage::actor::account::End;
use vmdisk_e2e::stage::{IMMEDIATE, RETAINING, STUCK, WAITING};

/// One life.
#[expect(clippy::struct_excessive_bools, reason = "each is a column of a table")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    /// Its name.
    pub(crate) name: &'static str,
    /// Whether it is tried in the short form.
    pub(crate) short: bool,
    /// The claim's class.
    pub(crate) class: &'static str,
    /// The image has no source.
    pub(crate) blank: bool,
    /// The claim lives in another namespace than its image, with a grant.
    pub(crate) foreign: bool,
    /// The claim does not wait for a consumer, whatever its class says.
    pub(crate) at_once: bool,
    /// How many syncs may run at once.
    pub(crate) concurrency: &'static str,
    /// How the workers end, one after the other.
    pub(crate) ends: &'static [End],
    /// How many attempts it takes, if nothing happens in it.
    pub(crate) attempts: i32,
    /// What the user does.
    pub(crate) moves: &'static [(When, Act)],
    /// How the life ends.
    pub(crate) ending: Ending,
}

/// What a user waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// The claim exists.
    Claimed,
    /// The sync is there, and says this.
    Phase(SyncPhase),
    /// The sync's last attempt failed so.
    FailedBy(FailureClass),
    /// The prime exists.
    Primed,
    /// The worker runs.
    Working,
    /// The worker has ended.
    Worked,
    /// The volume is reserved for the claim.
    HandedOver,
    /// Neither prime nor worker is there.
    Cleared,
}

/// What a user does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// As the scheduler, for the claim's consumer.
    SelectNode,
    /// Puts the source right.
    Heal,
    /// Deletes the claim.
    DeleteClaim,
    /// Deletes the image.
    DeleteImage,
}

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The claim is bound to the filled volume.
    Bound,
    /// The claim is unbound, and its sync says why for good.
    Failed,
    /// The claim is gone, and everything with it.
    Gone,
}

const FILLED: Life = Life {
    name: "filled",
    short: true,
    class: IMMEDIATE,
    blank: false,
    foreign: false,
    at_once: false,
    concurrency: "4",
    ends: &[End::Done],
    attempts: 1,
    moves: &[],
    ending: Ending::Bound,
};

const DELETED: Life = Life { ending: Ending::Gone, ends: &[End::Hangs], ..FILLED };

/// All of them.
pub(crate) const LIVES: &[Life] = &[
    FILLED,
    Life { name: "waits-for-consumer", class: WAITING, moves: &[(When::Claimed, Act::SelectNode)], ..FILLED },
    Life { name: "worker-is-consumer", short: false, class: WAITING, at_once: true, ..FILLED },
    Life { name: "other-namespace", foreign: true, ..FILLED },
    Life { name: "blank", short: false, blank: true, ..FILLED },
    Life { name: "class-retains", short: false, class: RETAINING, ..FILLED },
    Life { name: "transient-then-filled", ends: &[End::Transient, End::Done], attempts: 2, ..FILLED },
    Life { name: "killed-then-filled", short: false, ends: &[End::Killed, End::Done], attempts: 2, ..FILLED },
    Life { name: "evicted-then-filled", ends: &[End::Evicted, End::Done], attempts: 2, ..FILLED },
    Life {
        name: "retries-used-up",
        short: false,
        ends: &[End::Transient],
        attempts: 3,
        ending: Ending::Failed,
        ..FILLED
    },
    Life {
        name: "missing-then-healed",
        ends: &[End::Missing],
        attempts: 2,
        moves: &[(When::FailedBy(FailureClass::SourceMissing), Act::Heal)],
        ..FILLED
    },
    Life {
        name: "denied-then-healed",
        short: false,
        ends: &[End::Denied],
        attempts: 2,
        moves: &[(When::FailedBy(FailureClass::Denied), Act::Heal)],
        ..FILLED
    },
    Life { name: "malformed", ends: &[End::Malformed], ending: Ending::Failed, ..FILLED },
    Life { name: "wrong-digest", short: false, ends: &[End::Mismatch], ending: Ending::Failed, ..FILLED },
    Life {
        name: "deleted-while-queued",
        concurrency: "0",
        attempts: 0,
        moves: &[(When::Phase(SyncPhase::Queued), Act::DeleteClaim)],
        ..DELETED
    },
    Life { name: "deleted-while-provisioning", class: STUCK, moves: &[(When::Primed, Act::DeleteClaim)], ..DELETED },
    Life { name: "deleted-while-filling", moves: &[(When::Working, Act::DeleteClaim)], ..DELETED },
    Life {
        name: "deleted-while-filling-retained",
        short: false,
        class: RETAINING,
        moves: &[(When::Working, Act::DeleteClaim)],
        ..DELETED
    },
    Life {
        name: "deleted-when-filled",
        short: false,
        ends: &[End::Done],
        moves: &[(When::Worked, Act::DeleteClaim)],
        ..DELETED
    },
    Life {
        name: "deleted-while-rebinding",
        ends: &[End::Done],
        moves: &[(When::HandedOver, Act::DeleteClaim)],
        ..DELETED
    },
    Life {
        name: "image-deleted",
        moves: &[(When::Working, Act::DeleteImage), (When::Cleared, Act::DeleteClaim)],
        ..DELETED
    },
];
