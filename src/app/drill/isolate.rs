//! Takes the drill's process off this host's network, before anything else happens in it, and says whether that was possible. Never fails a drill:
//! where the system allows no network namespace, servers have the network they have in production.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::admin::drills::order::{ISOLATE, Network, SUBCOMMAND};
use crate::admin::drills::steps::Step;
use crate::proxy::sandbox;

/// What the process does that is started for another one's isolation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// Tries what the other one would do, and ends.
    Try,
    /// Makes a network and holds it until its standard input ends.
    Make,
}

impl Errand {
    /// The errand of an argument.
    pub fn named(argument: Option<&str>) -> Option<Self> {
        [Self::Try, Self::Make].into_iter().find(|errand| Some(errand.word()) == argument)
    }

    fn word(self) -> &'static str {
        match self {
            Self::Try => "try-network",
            Self::Make => "make-network",
        }
    }

    /// Does it. Call it before any thread exists.
    ///
    /// # Errors
    /// What the system said.
    pub fn perform(self, say: impl Fn(&str)) -> Result<(), String> {
        match self {
            Self::Try => sandbox::enter_network(),
            Self::Make => {
                sandbox::make_network()?;
                say(MADE);
                std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).map(|_| ()).map_err(|fault| fault.to_string())
            }
        }
    }

    fn start(self) -> Result<Child, String> {
        let mut command = Command::new("/proc/self/exe");
        command.args([SUBCOMMAND, self.word()]).env_clear();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().map_err(|fault| fault.to_string())
    }
}

const MADE: &str = "made";

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
    let entered = match rehearse() {
        Ok(()) => sandbox::enter_network(),
        Err(why) => join().map_err(|_| why),
    };
    told(entered, begun.elapsed().as_secs_f64())
}

fn rehearse() -> Result<(), String> {
    let output = Errand::Try.start()?.wait_with_output().map_err(|fault| fault.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Err(if why.is_empty() { "no reason was given".to_owned() } else { why })
}

/// A network that another process has made: this one needs fewer rights for it.
fn join() -> Result<(), String> {
    let mut maker = Errand::Make.start()?;
    let mut line = String::new();
    if let Some(stdout) = maker.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).map_err(|fault| fault.to_string())?;
    }
    let joined = if line.trim() == MADE { sandbox::join_network(maker.id()) } else { Err(line) };
    drop(maker.stdin.take());
    maker.wait().map_err(|fault| fault.to_string())?;
    joined
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
