//! The built-in demo server: a small knowledge memory that speaks MCP over stdio in both eras. It is a server like any other:
//! it runs behind the trampoline, knows nothing of Lifeboat, and never reads anything but its own memory file.

mod answer;
mod calls;
mod memory;
mod serve;
mod tools;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use serve::{run, serve};

/// The hidden subcommand that runs it.
pub const SUBCOMMAND: &str = "demo-server";
/// Names the memory file in the environment.
pub const MEMORY_VARIABLE: &str = "LIFEBOAT_MEMORY_FILE";

/// The memory file: the argument, else the environment, else `memory.jsonl` in the working directory.
pub fn memory_file(argument: Option<&str>) -> PathBuf {
    let named = argument.map(PathBuf::from).or_else(|| std::env::var_os(MEMORY_VARIABLE).map(PathBuf::from));
    named.unwrap_or_else(|| PathBuf::from("memory.jsonl"))
}
