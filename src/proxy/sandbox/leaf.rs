//! The last stage: gives up user, rights and files, tells in one line what holds it now, and becomes the server. Nothing that
//! fails on the way is skipped: the server is not started then.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl, open};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, fexecve, getppid, setgroups, setresgid, setresuid};

use super::fence::{self, Company, Fence};
use super::outer::become_mapped;
use super::params::{Identity, Params, Plan};
use super::strength::REPORT;

pub(super) fn run(mut plan: Plan) -> Result<u8, String> {
    let told = |fault: Errno| fault.desc().to_owned();
    let params = plan.params.clone();
    let program = open_program(plan.program.as_deref())?;
    let fence = closed_except(&plan)?;
    if !params.probe {
        std::env::set_current_dir(&params.vault).map_err(|fault| format!("{}: {fault}", params.vault.display()))?;
    }
    fence::limit(if matches!(plan.identity, Identity::Own(_)) { Company::Alone } else { Company::Shared })?;
    change_user(&mut plan)?;
    // Changing the user forgets whom to die with, so only now; and the starter may have ended before.
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(told)?;
    if getppid().as_raw() != plan.starter {
        return Err("the stage before has gone".to_owned());
    }
    nix::sys::stat::umask(Mode::from_bits_truncate(0o077));
    prctl::set_no_new_privs().map_err(told)?;
    plan.strength.landlock = fence.close()?;
    plan.strength.unreachable = unreachable(&plan);
    SigSet::empty().thread_set_mask().map_err(told)?;
    report(&plan)?;
    if params.probe {
        return Ok(0);
    }
    become_server(&plan, &program)
}

/// The program by descriptor, so that it need not lie where the server's user can go. A script stays open across the exec,
/// because its interpreter opens it again.
fn open_program(path: Option<&Path>) -> Result<OwnedFd, String> {
    let path = path.unwrap_or(Path::new("/proc/self/exe"));
    let told = |fault: Errno| format!("{}: {}", path.display(), fault.desc());
    let flags = OFlag::O_CLOEXEC;
    let opened = open(path, OFlag::O_RDONLY | flags, Mode::empty()).or_else(|_| open(path, OFlag::O_PATH | flags, Mode::empty()));
    let opened = opened.map_err(told)?;
    let mut file = File::from(opened.try_clone().map_err(|fault| fault.to_string())?);
    let mut magic = [0u8; 2];
    // What cannot be read is no script that anybody could interpret.
    if file.read_exact(&mut magic).is_ok() && &magic == b"#!" {
        file.rewind().map_err(|fault| fault.to_string())?;
        fcntl(&opened, FcntlArg::F_SETFD(FdFlag::empty())).map_err(told)?;
    }
    Ok(opened)
}

fn closed_except(plan: &Plan) -> Result<Fence, String> {
    if plan.params.probe {
        return Fence::new(&[], &[]);
    }
    let mut reads = plan.reads.clone();
    if plan.program.is_none() {
        reads.push(PathBuf::from("/proc/self/exe"));
    }
    let mut writes: Vec<&Path> = plan.params.dirs.iter().map(PathBuf::as_path).collect();
    writes.push(&plan.params.vault);
    Fence::new(&reads, &writes)
}

fn change_user(plan: &mut Plan) -> Result<(), String> {
    let told = |fault: Errno| format!("cannot change the user: {}", fault.desc());
    match plan.identity {
        Identity::Own(id) => {
            let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
            setgroups(&[]).map_err(told)?;
            setresgid(gid, gid, gid).map_err(told)?;
            setresuid(uid, uid, uid).map_err(told)?;
            plan.strength.uid = true;
            Ok(())
        }
        Identity::Nested { uid, gid } => {
            unshare(CloneFlags::CLONE_NEWUSER).map_err(told)?;
            become_mapped(uid, 0, gid, 0)
        }
        Identity::Same => Ok(()),
    }
}

fn unreachable(plan: &Plan) -> Vec<PathBuf> {
    let Params { dirs, .. } = &plan.params;
    dirs.iter().chain(&plan.reads).filter(|path| !can_open(path)).cloned().collect()
}

fn can_open(path: &Path) -> bool {
    if path.is_dir() { std::fs::read_dir(path).is_ok() } else { File::open(path).is_ok() }
}

fn report(plan: &Plan) -> Result<(), String> {
    let text = serde_json::to_string(&plan.strength).map_err(|fault| fault.to_string())?;
    writeln!(std::io::stderr(), "{REPORT}{text}").map_err(|fault| fault.to_string())
}

fn become_server(plan: &Plan, program: &OwnedFd) -> Result<u8, String> {
    let text = |bytes: &[u8]| CString::new(bytes).map_err(|_| "a NUL in the command line".to_owned());
    let argv = plan.argv.iter().map(|part| text(part.bytes())).collect::<Result<Vec<_>, _>>()?;
    let pairs = plan.params.env.iter().map(|(name, value)| text(format!("{name}={value}").as_bytes()));
    let env = pairs.collect::<Result<Vec<_>, _>>()?;
    let told = |fault: Errno| {
        let name = plan.argv.first().map(|name| Path::new(name.as_os_str()).display().to_string()).unwrap_or_default();
        format!("cannot start {name}: {}", fault.desc())
    };
    // A script is told its own path by preference: many look for their parts beside it.
    if let Some(path) = plan.program.as_ref().filter(|path| is_script(program) && File::open(path).is_ok()) {
        let path = text(path.as_os_str().as_encoded_bytes())?;
        return nix::unistd::execve(&path, &argv, &env).map(|never| match never {}).map_err(told);
    }
    fexecve(program, &argv, &env).map(|never| match never {}).map_err(told)
}

fn is_script(program: &OwnedFd) -> bool {
    fcntl(program, FcntlArg::F_GETFD).is_ok_and(|flags| flags & FdFlag::FD_CLOEXEC.bits() == 0)
}
