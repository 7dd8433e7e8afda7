//! What `manifests/` installs: the generated file is the kustomization, and nobody may do more than the roles say.

mod access;
mod install;
