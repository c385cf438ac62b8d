//! The configuration of nginx: a tree of directives, what an edge's tree is, and the one way a tree becomes text.
//!
//! Nothing of a `GoProxy` reaches the file but through [`Argument`], and text of a user only as a [`Text`] that was checked. What
//! changes while clients are served (weights, rules, addresses, roles, limits, order of origins) is not in the file at all: it
//! is pushed into shared memory, because a reload costs clients that do not retry a request.

mod front;
mod origin;
mod structure;
mod text;
mod tree;

pub use structure::{Cache, HostName, InvalidHostName, Ports, Structure};
pub use text::{InvalidText, Text};
pub use tree::{Argument, Directive};

/// The whole file for an edge.
pub fn file(structure: &Structure) -> String {
    tree::render(&structure::tree(structure))
}

#[cfg(test)]
pub(in crate::edge) mod tests;
