//! The trampoline `lifeboat sandbox -- CMD ARGS` that every stdio server is started through (docs/SECURITY.md). It never runs a
//! runtime, never reads configuration or keys, and never gives the server anything that was not declared for it.
//!
//! Three stages of this one program, each a process: *outer* watches over the end of everything below it, *init* is the
//! first process of a private process namespace and hides the data directory, *leaf* gives up what is left and becomes
//! the server. Where the system allows no process namespace, outer starts leaf itself and stays as its subreaper.

mod fence;
mod init;
mod leaf;
mod mounts;
mod network;
mod outer;
mod params;
mod reach;
mod strength;
mod supervise;
mod uid;
mod vault;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::Write;

pub use network::{enter_network, join_network, make_network};
pub use params::{DEMO_ARGUMENT, DEMO_PROGRAM, Params};
pub use strength::{REPORT, Strength, strength};
pub use supervise::STOP_NOW;
pub use uid::{may_change, uid_of};
pub use vault::prepare_vault;

/// The hidden subcommand.
pub const SUBCOMMAND: &str = "sandbox";

/// Exit status when the server could not be started (as `env` and `nohup` have it).
const CANNOT_START: u8 = 126;

/// Runs the stage this process is for; `argv` is what follows the subcommand. Call it before any thread exists. Returns the
/// exit status; where everything went well the last stage does not return at all.
pub fn run(argv: &[OsString]) -> u8 {
    let ended = match params::Stage::take() {
        Ok(None) => outer::run(argv),
        Ok(Some(params::Stage::Init(plan))) => init::run(plan),
        Ok(Some(params::Stage::Leaf(plan))) => leaf::run(plan),
        Err(fault) => Err(fault),
    };
    ended.unwrap_or_else(|fault| {
        // Nobody can be told when standard error is gone too.
        let _ = writeln!(std::io::stderr(), "lifeboat sandbox: {fault}");
        CANNOT_START
    })
}
