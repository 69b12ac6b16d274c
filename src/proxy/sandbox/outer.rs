//! The first stage: reads the parameters, cuts itself loose from Lifeboat's terminal and files, opens the namespaces this
//! system allows, and watches. Dies with Lifeboat; whatever is below it dies with it.

use std::ffi::OsString;
use std::path::Path;

use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{getegid, geteuid, getpid, getppid, setsid};

use super::params::{Identity, OsText, Params, Plan, Stage, built_in};
use super::strength::Strength;
use super::supervise::{self, Below};
use super::{reach, uid};

pub(super) fn run(argv: &[OsString]) -> Result<u8, String> {
    let params = Params::read()?;
    die_with(&params)?;
    // Fails only for a process that leads a group already, which is as good.
    let _ = setsid();
    close_strays();
    let (program, arguments) = match argv {
        [dashes, program, arguments @ ..] if dashes == "--" => (program, arguments),
        _ => return Err("usage: lifeboat sandbox -- CMD [ARGS]".to_owned()),
    };
    let (program, argv, reads) = command(&params, program, arguments)?;
    if !params.probe {
        reach::check_dirs(&params.dirs, &params.data)?;
    }
    let signals = supervise::hold_signals()?;
    let (identity, strength, below) = namespaces(&params)?;
    let plan = Plan { params, program, argv, reads, identity, starter: getpid().as_raw(), strength };
    let stage = if below == Below::Init { Stage::Init(plan) } else { Stage::Leaf(plan) };
    let child = stage.start()?;
    supervise::watch(&child, below, &signals)
}

fn die_with(params: &Params) -> Result<(), String> {
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(|fault| fault.desc().to_owned())?;
    // Lifeboat may have ended before the line above.
    if u32::try_from(getppid().as_raw()) != Ok(params.parent) {
        return Err("Lifeboat has gone".to_owned());
    }
    Ok(())
}

// Lifeboat opens nothing that a child inherits, but whoever started Lifeboat may have.
fn close_strays() {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return };
    let open: Vec<i32> = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for fd in open.into_iter().filter(|fd| *fd > 2) {
        // One of them was the listing itself and is closed already.
        let _ = nix::unistd::close(fd);
    }
}

type Command = (Option<std::path::PathBuf>, Vec<OsText>, Vec<std::path::PathBuf>);

fn command(params: &Params, program: &OsString, arguments: &[OsString]) -> Result<Command, String> {
    if params.probe {
        return Ok((None, Vec::new(), Vec::new()));
    }
    if let Some(argument) = built_in(program) {
        return Ok((None, vec![OsText::from(std::ffi::OsStr::new("lifeboat")), OsText::from(argument.as_ref())], Vec::new()));
    }
    let path = params.env.iter().find(|(name, _)| name == "PATH").map_or(reach::PATH, |(_, value)| value.as_str());
    let found = reach::find_program(program, path, &params.vault)
        .ok_or_else(|| format!("there is no program {}", Path::new(program).display()))?;
    let reads = reach::named_by(Some(&found), arguments, &params.data);
    let argv = std::iter::once(program).chain(arguments).map(|text| OsText::from(text.as_os_str())).collect();
    Ok((Some(found), argv, reads))
}

/// Opens what this system allows, the strongest first.
fn namespaces(params: &Params) -> Result<(Identity, Strength, Below), String> {
    let mut strength = Strength::default();
    if geteuid().is_root() {
        let identity = match params.uid {
            Some(own) if uid::may_change() => Identity::Own(own),
            Some(_) => return Err("this process may not change to the server's own user".to_owned()),
            None => Identity::Same,
        };
        strength.pid_namespace = unshare(CloneFlags::CLONE_NEWPID).is_ok();
        return finish(identity, strength);
    }
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    if unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID).is_err() {
        return finish(Identity::Same, strength);
    }
    become_mapped(0, user, 0, group)?;
    strength.pid_namespace = true;
    strength.user_namespace = true;
    finish(Identity::Nested { uid: user, gid: group }, strength)
}

fn finish(identity: Identity, strength: Strength) -> Result<(Identity, Strength, Below), String> {
    if strength.pid_namespace {
        return Ok((identity, strength, Below::Init));
    }
    let told = |fault: nix::Error| fault.desc().to_owned();
    prctl::set_child_subreaper(true).map_err(told)?;
    // Whoever has no namespace must be given the time to end what is below.
    prctl::set_pdeathsig(supervise::STOP_NOW).map_err(told)?;
    Ok((identity, strength, Below::Server))
}

/// Fills the maps of the user namespace just made: `inside` there is `outside` here.
pub(super) fn become_mapped(inside: u32, outside: u32, group_inside: u32, group_outside: u32) -> Result<(), String> {
    let write = |name: &str, text: String| {
        std::fs::write(format!("/proc/self/{name}"), text).map_err(|fault| format!("/proc/self/{name}: {fault}"))
    };
    write("setgroups", "deny".to_owned())?;
    write("gid_map", format!("{group_inside} {group_outside} 1"))?;
    write("uid_map", format!("{inside} {outside} 1"))
}
