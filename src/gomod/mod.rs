//! What Go says about modules: paths, versions, patterns of modules, the tiles of a checksum database. Pure.
//!
//! The rules are those of `golang.org/x/mod`, read from its source. `testdata/answers.tsv` holds what that package itself answers to
//! a set of names, good and bad, and a test holds this room to it.

pub mod escape;
pub mod module_path;
pub mod pattern;
pub mod tile;
pub mod version;

pub use module_path::{InvalidModulePath, ModulePath};
pub use pattern::ModulePattern;
pub use tile::Tile;
pub use version::{Query, Version};

/// The longest element of a path, escaped: what file systems take as a name.
pub const ELEMENT_MAX: usize = 255;

/// Names that are devices on Windows, in any case and with any ending: Go lets nobody use them.
const DEVICES: [&str; 4] = ["CON", "PRN", "AUX", "NUL"];

/// Whether the part of an element before its first dot names a device.
fn is_device(element: &str) -> bool {
    let stem = element.split('.').next().unwrap_or_default();
    let numbered = |name: &str| {
        stem.len() == 4
            && stem.get(..3).is_some_and(|start| start.eq_ignore_ascii_case(name))
            && matches!(stem.as_bytes()[3], b'1'..=b'9')
    };
    DEVICES.iter().any(|device| stem.eq_ignore_ascii_case(device)) || numbered("COM") || numbered("LPT")
}

#[cfg(test)]
mod tests;
