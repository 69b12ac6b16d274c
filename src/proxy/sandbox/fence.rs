//! The Landlock fence and the limits of one server. Best effort: tells what the kernel took on, and never less than asked
//! without saying so.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, LandlockStatus, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use nix::sys::resource::{Resource, setrlimit};

// The newest version this was tried with.
const KNOWN: ABI = ABI::V6;

// What any program may need of the system, to read and to execute.
const SYSTEM: [&str; 14] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc",
    "/opt",
    "/nix",
    "/proc",
    "/sys/fs/cgroup",
    "/sys/devices/system/cpu",
    "/run/systemd/resolve",
    "/var/lib/ca-certificates",
];
const DEVICES: [&str; 6] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

/// A fence with its gates, not yet closed. Made before the user changes, because the folders may lie where the server's own
/// user cannot go.
pub(super) struct Fence(RulesetCreated);

impl Fence {
    /// Opens a gate for each path that exists.
    pub(super) fn new(reads: &[PathBuf], writes: &[&Path]) -> Result<Self, String> {
        let read = AccessFs::from_read(KNOWN);
        let write = AccessFs::from_all(KNOWN) & !(AccessFs::MakeBlock | AccessFs::MakeChar);
        let build = || -> Result<RulesetCreated, RulesetError> {
            Ruleset::default()
                .set_compatibility(CompatLevel::BestEffort)
                .handle_access(AccessFs::from_all(KNOWN))?
                .scope(Scope::from_all(KNOWN))?
                .create()?
                .add_rules(path_beneath_rules(SYSTEM, read))?
                .add_rules(path_beneath_rules(reads, read))?
                .add_rules(path_beneath_rules(DEVICES, AccessFs::from_file(KNOWN)))?
                .add_rules(path_beneath_rules(writes, write))
        };
        build().map(Self).map_err(|fault| format!("Landlock: {fault}"))
    }

    /// Closes the fence around this process for good; the version that holds, `None` where the kernel has none.
    pub(super) fn close(self) -> Result<Option<u32>, String> {
        let status = self.0.restrict_self().map_err(|fault| format!("Landlock: {fault}"))?;
        match (status.ruleset, status.landlock) {
            (RulesetStatus::NotEnforced, _) => Ok(None),
            (_, LandlockStatus::Available { effective_abi, .. }) => Ok(Some(effective_abi as u32)),
            _ => Ok(None),
        }
    }
}

/// Sets the limits of the server; `alone` says that no other program runs as its user, so that processes can be counted.
pub(super) fn limit(alone: Company) -> Result<(), String> {
    let set = |resource, soft, hard| {
        setrlimit(resource, soft, hard).map_err(|fault| format!("cannot limit {resource:?}: {}", fault.desc()))
    };
    set(Resource::RLIMIT_CORE, 0, 0)?;
    let (_, most) = nix::sys::resource::getrlimit(Resource::RLIMIT_NOFILE).map_err(|fault| fault.desc().to_owned())?;
    set(Resource::RLIMIT_NOFILE, most.min(1024), most.min(4096))?;
    match alone {
        Company::Alone => set(Resource::RLIMIT_NPROC, 512, 512),
        Company::Shared => Ok(()),
    }
}

/// Whether other programs run as the same user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Company {
    /// Only this server.
    Alone,
    /// Others too.
    Shared,
}
