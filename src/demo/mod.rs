//! The built-in demo server: a small knowledge memory that speaks MCP over stdio in both eras. It is a server like any other:
//! it runs behind the trampoline, knows nothing of Lifeboat, and never reads anything but its own memory file.

mod answer;
mod calls;
mod memory;
mod serve;
mod stand_in;
mod tools;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use serve::{run, serve};
pub use stand_in::run as run_stand_in;

/// The hidden subcommand that runs it.
pub const SUBCOMMAND: &str = "demo-server";
/// The program that means the stand-in: what a drill starts in place of a server that it must not reach.
pub const STAND_IN_PROGRAM: &str = "@stand-in";
/// The hidden subcommand that runs it.
pub const STAND_IN_SUBCOMMAND: &str = "stand-in-server";
/// What it offers: a file in its working directory, one array of tool definitions.
pub const STAND_IN_FILE: &str = "stand-in.json";
/// Names the memory file in the environment.
pub const MEMORY_VARIABLE: &str = "LIFEBOAT_MEMORY_FILE";

/// The memory file: the argument, else the environment, else `memory.jsonl` in the working directory.
pub fn memory_file(argument: Option<&str>) -> PathBuf {
    let named = argument.map(PathBuf::from).or_else(|| std::env::var_os(MEMORY_VARIABLE).map(PathBuf::from));
    named.unwrap_or_else(|| PathBuf::from("memory.jsonl"))
}
