//! The second stage, where there is a process namespace: its first process. Hides the data directory, starts the last stage,
//! takes the orphans, and by its own end ends everything. Never becomes the server, because a first process ignores signals.

use nix::sys::prctl;
use nix::sys::signal::Signal;

use super::mounts;
use super::params::{Plan, Stage};
use super::supervise::{self, Below, parent_of};

pub(super) fn run(mut plan: Plan) -> Result<u8, String> {
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(|fault| fault.desc().to_owned())?;
    // A first process sees no parent by getppid; the system's /proc, still mounted here, knows it.
    if parent_of(0) != Some(plan.starter) {
        return Err("the outer stage has gone".to_owned());
    }
    let signals = supervise::hold_signals()?;
    plan.strength.hidden = mounts::hide(&plan)?;
    plan.starter = nix::unistd::getpid().as_raw();
    let child = Stage::Leaf(plan).start()?;
    supervise::watch(&child, Below::Server, &signals)
}
