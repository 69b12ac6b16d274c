//! Takes the drill's process off this host's network, before anything else happens in it, and says whether that was possible. Never fails a drill:
//! where the system allows no network namespace, servers have the network they have in production.

use std::process::{Command, Stdio};
use std::time::Instant;

use crate::admin::drills::order::{ISOLATE, Network, SUBCOMMAND};
use crate::admin::drills::steps::Step;
use crate::proxy::sandbox;

/// The argument that only tries.
pub const REHEARSAL: &str = "try-isolation";

/// What came of it.
pub struct Isolation {
    /// What servers of the drill can reach.
    pub network: Network,
    /// How it is told.
    pub step: Step,
}

/// Leaves the network. Call it before any thread exists.
pub fn enter() -> Isolation {
    let begun = Instant::now();
    // What was done in half cannot be undone by this process; one that only tries may end with it.
    let entered = rehearse().and_then(|()| sandbox::enter_network());
    told(entered, begun.elapsed().as_secs_f64())
}

/// What the rehearsing process does: the same, and says why it failed.
///
/// # Errors
/// What the system said.
pub fn rehearsal() -> Result<(), String> {
    sandbox::enter_network()
}

fn rehearse() -> Result<(), String> {
    let mut command = Command::new("/proc/self/exe");
    command.args([SUBCOMMAND, REHEARSAL]).env_clear().stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().map_err(|fault| fault.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Err(if why.is_empty() { "no reason was given".to_owned() } else { why })
}

fn told(entered: Result<(), String>, seconds: f64) -> Isolation {
    let (network, detail) = match entered {
        Ok(()) => (Network::Own, "a network of the drill's own, with nothing on it but loopback".to_owned()),
        Err(why) => (Network::Host, format!("no network namespace here ({why}): servers have this host's network")),
    };
    let seconds = (seconds * 1e4).round() / 1e4;
    Isolation { network, step: Step { name: ISOLATE.to_owned(), seconds, passed: network == Network::Own, detail } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_refuses_is_said_in_its_own_word() {
        let refused = told(Err("EPERM".to_owned()), 0.01);
        assert_eq!((refused.network, refused.step.passed), (Network::Host, false));
        assert_eq!(refused.step.detail, "no network namespace here (EPERM): servers have this host's network");
        let own = told(Ok(()), 0.01);
        assert_eq!((own.network, own.step.passed, own.step.name.as_str()), (Network::Own, true, "isolate-network"));
    }
}
