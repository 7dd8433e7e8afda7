//! What `manifests/` installs: the generated file is the kustomization, nobody may do more than the roles say, and what
//! is ours nobody else writes.

mod access;
mod bounds;
mod install;
mod narrow;
mod objects;
mod records;
mod reserved;
