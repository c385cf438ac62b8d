//! The edge: what stands between clients and the proxies of a fleet. nginx carries the bytes; this is what decides.
//!
//! All rooms but `agent` are without IO: each is a function of what it is given, time included, so that the agent, a preview and a test
//! decide alike.
//!
//! | Room | What is decided there |
//! |---|---|
//! | [`path`] | what a client asks for, in the one form that is cache key, policy input and upstream path |
//! | [`nginx`] | the structure of nginx's configuration, and the only way text gets into it |
//! | [`address`] | who speaks, behind trusted proxies, and whether that address may |
//! | [`token`] | whose token it is, and whether it is one |
//! | [`role`] | what somebody may do with which module |
//! | [`choice`] | which revision answers whom |
//! | [`freshness`] | how long what changes is taken for true |
//! | [`origin`] | which mirror is asked next, how often, and when it is left alone |
//! | [`peers`] | which pods answer for which revision |
//! | [`decide`] | all of that together, for one request |
//! | [`wire`] | nothing: how the script in nginx and the agent speak |
//! | [`agent`] | nothing: it watches, asks the others, pushes to nginx and tells the operator |
//! | [`adopt`] | which of the settings in an `EdgeState` this edge serves by |

pub mod address;
pub mod adopt;
pub mod agent;
pub mod choice;
pub mod decide;
pub mod freshness;
pub mod nginx;
pub mod origin;
pub mod path;
pub mod peers;
pub mod role;
pub mod token;
pub mod wire;

#[cfg(test)]
mod bad_inputs;
