//! Container images without a registry and without an engine that builds them.
//!
//! A typed recipe says what an image is made of. From it come the archives that the lab loads into containerd and the
//! Dockerfiles for people who build the images themselves; a test keeps the committed Dockerfiles equal to the recipes.

mod archive;
mod debian;
pub mod dockerfile;
mod layer;
mod recipe;
mod source;

use std::path::PathBuf;

use anyhow::Result;

use crate::progress::Progress;
use recipe::Recipe;

/// An image that the lab can load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Image {
    /// Holds a pod's namespaces.
    Pause,
    /// A shell and small tools, for volume helpers and for clients in tests.
    Busybox,
    /// The DNS server of a cluster.
    CoreDns,
    /// Serves `pods.metrics.k8s.io`.
    MetricsServer,
    /// The default `StorageClass`; its helper pods use [`Image::Busybox`].
    LocalPathProvisioner,
    /// The engine of a fleet, newest supported release.
    Athens,
    /// The engine's release before that. Same repository, other tag.
    Athens0180,
    /// The other engine of a fleet.
    Goproxy,
    /// The operator of this tree.
    Operator,
    /// What stands between the clients and the proxies of a fleet.
    Edge,
    /// The generated module origin, served on port 8080.
    Origin,
    /// The Redis that a fleet brings along.
    Redis,
}

impl Image {
    /// Every image.
    pub const ALL: [Self; 12] = [
        Self::Pause,
        Self::Busybox,
        Self::CoreDns,
        Self::MetricsServer,
        Self::LocalPathProvisioner,
        Self::Athens,
        Self::Athens0180,
        Self::Goproxy,
        Self::Operator,
        Self::Edge,
        Self::Origin,
        Self::Redis,
    ];
}

/// What a pod names the image, `repository:tag`.
pub fn reference(image: Image) -> String {
    Recipe::of(image).reference()
}

/// The image as a file for `ctr images import`, made unless the cache has it. What goes into it is built first.
pub fn archive(image: Image, progress: &Progress) -> Result<PathBuf> {
    archive::ensure(&Recipe::of(image), progress)
}

/// The Debian packages of the edge's image, unpacked on this machine. Made once, and again when the packages change.
pub fn edge_root(progress: &Progress) -> Result<PathBuf> {
    archive::unpacked(&Recipe::of(Image::Edge).layers[0], progress)
}

/// The operator's release binary: static, and the one that its image holds.
pub fn operator_binary(progress: &Progress) -> Result<PathBuf> {
    source::operator_binary(progress)
}

/// A binary of this workspace, compiled as its tests are.
pub fn debug_binary(package: &str, binary: &str) -> Result<PathBuf> {
    source::debug_binary(package, binary)
}

/// A binary of this workspace, compiled as the operator in its image is.
pub fn release_binary(package: &str, binary: &str) -> Result<PathBuf> {
    source::release_binary(package, binary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_reference_can_be_pulled_or_moves() {
        for image in Image::ALL {
            let reference = reference(image);
            let (repository, tag) = reference.rsplit_once(':').unwrap();
            assert!(repository.starts_with("lab.invalid/"), "{reference}");
            assert!(!tag.is_empty() && tag != "latest", "{reference}");
        }
    }

    #[test]
    fn both_releases_of_the_engine_share_a_repository() {
        let (newest, before) = (reference(Image::Athens), reference(Image::Athens0180));
        assert_ne!(newest, before);
        assert_eq!(newest.split(':').next(), before.split(':').next());
    }
}
