//! What is peculiar to Athens: its configuration file, its container contract, its versions. Nothing outside this
//! module knows a setting of Athens by name.

pub mod athens;
pub mod contract;
pub mod coordination;
pub mod origins;
pub mod version;
