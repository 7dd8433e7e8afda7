//! What the end-to-end tests share: a scene of their own on the running cluster, builders of the objects that users
//! write, waiting for conditions, and witnesses of what happened.
//!
//! ```text
//! scenario("name", async |scene| …)   a namespace of its own; diagnostics when it fails; nothing stays behind
//!   objects   VMDiskImage, claim, grant, pod: as a user writes them
//!   class     a class of storage of the test's own
//!   snapshots snapshots of claims, and a class of them of the test's own
//!   shell     runs a script in a pod with some claims
//!   disk      one that the test serves, and the judge of the claim that it ends in
//!   consumer  uses a claim from a pod, on a node that the test chooses or the scheduler
//!   events    what a claim was told
//!   syncs     the record of how a claim is filled
//!   until     waits for a condition on one object, by watch, with a deadline
//!   reader    finds a disk in a claim from a pod: its bytes, and zeros behind it
//!   files     publishes files on the HTTP server, sets faults, reads the accounts
//!   registry  puts manifests of every shape on the registry
//!   s3        puts objects on the S3 server
//!   traces    what there is for a claim, on the cluster and on the machine; and that nothing of it is left
//!   tape      every change of some objects, however short-lived
//!   volumes   every volume that there ever was for a claim
//!   random    moments and places that nobody chose, from a seed
//!   policy    the operator's policy, changed for a while
//!   operator  the controller as it runs: who leads, and killing it
//!   audit     who wrote what, and who was refused, from the API server's audit log
//!   worker    a worker while it runs: what it has said so far, killing and evicting it
//!   impersonation  the cluster as somebody else: a tenant, an account
//!   wall      our admission policies, taken down for a while
//!   writes    how much an account wrote, by the same log
//!   likeness  what looks like a prime and its worker, and is no populator's
//!   tenant    an adversary who may edit one namespace
//!   forgery   what he makes to look like ours
//!   victim    a claim that is filled meanwhile, and the judge of whether it was harmed
//!   rude      a web server whose answers are beyond every bound
//! ```

pub mod audit;
pub mod bed;
pub mod class;
pub mod consumer;
pub mod diagnostics;
pub mod disk;
pub mod events;
pub mod files;
pub mod forgery;
pub mod impersonation;
pub mod likeness;
pub mod objects;
pub mod operator;
pub mod policy;
pub mod random;
pub mod reader;
pub mod registry;
pub mod rude;
pub mod s3;
pub mod scene;
pub mod shell;
pub mod snapshots;
pub mod syncs;
pub mod tape;
pub mod tenant;
pub mod traces;
pub mod until;
pub mod victim;
pub mod volumes;
pub mod wall;
pub mod worker;
pub mod writes;

pub use bed::Bed;
pub use consumer::Consumer;
pub use scene::{Scene, scenario};
