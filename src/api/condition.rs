//! Condition types and the reasons they carry, each spelled once.

/// Types of condition on a `GoProxy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionType {
    /// Clients are served, as the newest spec says or as the last good one did.
    Ready,
    /// The operator is moving the fleet towards the spec.
    Reconciling,
    /// The operator cannot go on without somebody's help.
    Stalled,
    /// A newer tested engine exists than the fleet runs.
    EngineUpdateAvailable,
    /// The volume has the size that the spec asks for.
    VolumeSized,
    /// The lock that the fleet brings along works.
    LockReady,
    /// The edge serves, by what it was told last.
    EdgeReady,
}

impl ConditionType {
    /// The name in `status.conditions`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::EngineUpdateAvailable => "EngineUpdateAvailable",
            Self::VolumeSized => "VolumeSized",
            Self::LockReady => "LockReady",
            Self::EdgeReady => "EdgeReady",
        }
    }
}

/// Reasons of conditions and events: stable words that scripts may match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Clients are served and nothing is under way.
    Available,
    /// `spec.replicas` is 0.
    Stopped,
    /// `spec.suspend` is set.
    Suspended,
    /// A first or next revision is starting.
    Progressing,
    /// The spec is refused; the message names field, value and fix.
    InvalidSpec,
    /// An object that is not ours has a name that the fleet needs.
    NameTaken,
    /// Another fleet has the storage that this one names.
    StorageTaken,
    /// The image cannot be pulled.
    ImageUnavailable,
    /// The volume is not bound or cannot be attached.
    VolumePending,
    /// The claim that the fleet is to take over does not exist.
    VolumeMissing,
    /// Somebody else's pod mounts the claim that the fleet is to take over.
    VolumeInUse,
    /// The volume is being made larger.
    Resizing,
    /// The volume is larger, the file system on it is not yet.
    FileSystemResizePending,
    /// The StorageClass lets no volume grow.
    VolumeCannotGrow,
    /// The spec asks for less than the volume has.
    VolumeCannotShrink,
    /// The volume's driver cannot make it larger.
    VolumeResizeFailed,
    /// The lock that the fleet brings along does not answer.
    LockUnavailable,
    /// No pod of the edge is ready.
    EdgeUnavailable,
    /// Some pod of the edge serves by older settings.
    EdgeBehind,
    /// The engine refuses its configuration.
    ConfigRefused,
    /// The engine ends again and again.
    CrashLoop,
    /// A quota forbids the pods.
    QuotaExceeded,
    /// No node has room or fits.
    Unschedulable,
    /// A Secret that the pods need is missing.
    SecretMissing,
    /// A ConfigMap that the pods need is missing.
    ConfigMapMissing,
    /// The API server refuses an object of the fleet.
    ObjectRefused,
    /// The operator lacks a permission; the message names it.
    Forbidden,
    /// No pod is ready, and nobody tells why; the message tells where to look.
    NotReady,
    /// The fleet runs the newest tested engine.
    UpToDate,
    /// A newer tested engine exists.
    NewerEngine,
    /// The engine that the fleet runs has a known fault, which a newer tested one has not.
    FaultyEngine,
}

impl Reason {
    /// The word in conditions and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Available => "Available",
            Self::Stopped => "Stopped",
            Self::Suspended => "Suspended",
            Self::Progressing => "Progressing",
            Self::InvalidSpec => "InvalidSpec",
            Self::NameTaken => "NameTaken",
            Self::StorageTaken => "StorageTaken",
            Self::ImageUnavailable => "ImageUnavailable",
            Self::VolumePending => "VolumePending",
            Self::VolumeMissing => "VolumeMissing",
            Self::VolumeInUse => "VolumeInUse",
            Self::Resizing => "Resizing",
            Self::FileSystemResizePending => "FileSystemResizePending",
            Self::VolumeCannotGrow => "VolumeCannotGrow",
            Self::VolumeCannotShrink => "VolumeCannotShrink",
            Self::VolumeResizeFailed => "VolumeResizeFailed",
            Self::LockUnavailable => "LockUnavailable",
            Self::EdgeUnavailable => "EdgeUnavailable",
            Self::EdgeBehind => "EdgeBehind",
            Self::ConfigRefused => "ConfigRefused",
            Self::CrashLoop => "CrashLoop",
            Self::QuotaExceeded => "QuotaExceeded",
            Self::Unschedulable => "Unschedulable",
            Self::SecretMissing => "SecretMissing",
            Self::ConfigMapMissing => "ConfigMapMissing",
            Self::ObjectRefused => "ObjectRefused",
            Self::Forbidden => "Forbidden",
            Self::NotReady => "NotReady",
            Self::UpToDate => "UpToDate",
            Self::NewerEngine => "NewerEngine",
            Self::FaultyEngine => "FaultyEngine",
        }
    }
}
