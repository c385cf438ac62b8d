//! Condition types and the reasons they carry, each spelled once.

/// Types of condition on a `GoProxy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// The volume has room for what comes.
    VolumeHasRoom,
    /// The lock answers the proxies.
    LockReady,
    /// Logins for Git servers work, as far as they are tried.
    LoginsWork,
    /// No fleet of another operator uses the bucket.
    StorageExclusive,
    /// The edge serves, by what it was told last.
    EdgeReady,
}

impl ConditionType {
    /// All of them, in the order in which a status tells them.
    pub const ALL: [Self; 10] = [
        Self::Ready,
        Self::Reconciling,
        Self::Stalled,
        Self::EngineUpdateAvailable,
        Self::VolumeSized,
        Self::VolumeHasRoom,
        Self::LockReady,
        Self::LoginsWork,
        Self::StorageExclusive,
        Self::EdgeReady,
    ];

    /// The name in `status.conditions`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::EngineUpdateAvailable => "EngineUpdateAvailable",
            Self::VolumeSized => "VolumeSized",
            Self::VolumeHasRoom => "VolumeHasRoom",
            Self::LockReady => "LockReady",
            Self::LoginsWork => "LoginsWork",
            Self::StorageExclusive => "StorageExclusive",
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
    /// Little of the volume is free.
    NearlyFull,
    /// What is not on the volume already does not fit on it.
    Full,
    /// The lock does not answer.
    LockUnavailable,
    /// A Git server does not let a login in, or nobody can ask it.
    LoginRefused,
    /// A fleet of another operator uses the same bucket.
    StorageShared,
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
            Self::NearlyFull => "NearlyFull",
            Self::Full => "Full",
            Self::LockUnavailable => "LockUnavailable",
            Self::LoginRefused => "LoginRefused",
            Self::StorageShared => "StorageShared",
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
