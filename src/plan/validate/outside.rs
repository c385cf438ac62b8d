//! The fleet's way out, resolved.

/// A proxy on the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidEgress {
    /// For https addresses.
    pub https: String,
    /// For http addresses.
    pub http: String,
    /// What is reached past it.
    pub past: Vec<String>,
}
