//! The MCP wire, pure: strict JSON, messages, eras, headers, server-sent events, list rewriting. Never does I/O, never decides who may
//! do what, and never re-encodes a message: what was parsed is what is forwarded, byte for byte, but for the spans a stage must replace.

pub mod capabilities;
pub mod era;
pub mod fault;
pub mod headers;
pub mod json;
pub mod list;
pub mod message;
pub mod method;
pub mod reply;
pub mod sse;
pub mod task;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_keys;
#[cfg(test)]
mod tests_mirror;
