//! HTTP as every source speaks it: one client whose every connection is checked against the policy, redirects that
//! never carry credentials to another origin, and bodies that come over several
//! connections where that is faster, and go on where a broken one stopped.

mod authorize;
mod body;
mod client;
mod object;
mod parallel;
mod ranges;
mod resolver;
mod segment;
mod status;

pub use authorize::{Anonymous, Authorize, Basic, Bearer};
pub use body::{Body, read_all};
pub use client::{Client, Options, Request};
pub use object::{Identity, Object};
pub use ranges::RangedObject;
pub use status::{element, refusal};
