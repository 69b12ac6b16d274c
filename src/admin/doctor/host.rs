//! The host: how well it confines servers, room on the disk, open files, and who reaches the listeners. Only asks the system.

use std::net::SocketAddr;

use super::{Check, State, check, ok};
use crate::admin::Admin;
use crate::config::space::{Space, space};

const MIB: u64 = 1 << 20;
// Below this a busy day of events does not fit any more.
const LITTLE: u64 = 1024 * MIB;
const NEXT_TO_NOTHING: u64 = 64 * MIB;
const FEW_FILES: u64 = 4096;

pub(super) fn checks(admin: &Admin) -> Vec<Check> {
    let mut checks = vec![sandbox(admin), disk(admin), open_files()];
    checks.extend(listeners(admin));
    checks
}

fn sandbox(admin: &Admin) -> Check {
    let host = admin.feed.sandbox();
    if host.sentence.is_empty() {
        return check("sandbox", State::Warn, "Lifeboat is not running, so nobody has looked", "start it, then run doctor again");
    }
    if host.whole {
        return ok("sandbox", host.sentence);
    }
    let mend = "run Lifeboat as root on a kernel with Landlock, or register stdio servers over HTTP from another account (docs/SECURITY.md)";
    check("sandbox", State::Warn, host.sentence, mend)
}

fn disk(admin: &Admin) -> Check {
    match space(admin.data.root()) {
        Ok(space) => room(space),
        Err(fault) => check("disk", State::Warn, fault.to_string(), ""),
    }
}

/// What the room on a disk means.
pub(super) fn room(space: Space) -> Check {
    let share = |free: u64, total: u64| free.saturating_mul(100).checked_div(total).unwrap_or(100);
    let (bytes, files) = (share(space.free, space.total), share(space.free_files, space.total_files));
    let counted = if space.total_files == 0 { String::new() } else { format!(", {files} % of the inodes") };
    let detail = format!("{} MiB free, {bytes} % of the disk{counted}", space.free / MIB);
    let mend =
        "free room where the data directory lies; when it is full, calls are refused, because they could not be written down";
    let none_left = space.free < NEXT_TO_NOTHING || (space.total_files > 0 && space.free_files < 1_000);
    if none_left {
        return check("disk", State::Fail, detail, mend);
    }
    if space.free < LITTLE || bytes < 5 || files < 5 {
        return check("disk", State::Warn, detail, mend);
    }
    ok("disk", detail)
}

fn open_files() -> Check {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let open = std::fs::read_dir("/proc/self/fd").map(Iterator::count).unwrap_or(0) as u64;
    match soft_limit(&limits) {
        Some(limit) => files_left(open, limit),
        None => check("open files", State::Warn, "the limit of open files is not known", ""),
    }
}

// `Max open files            1024                 524288               files`
fn soft_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let soft = line.split_whitespace().next()?;
    if soft == "unlimited" { Some(u64::MAX) } else { soft.parse().ok() }
}

/// What a limit of open files means; every connection of a client takes one, and one more towards its server.
pub(super) fn files_left(open: u64, limit: u64) -> Check {
    let detail = format!("{open} of {limit}");
    let mend = "raise it before Lifeboat starts: LimitNOFILE=65536 in the unit, or ulimit -n 65536";
    if open.saturating_mul(10) >= limit.saturating_mul(9) {
        return check("open files", State::Fail, format!("{detail} are open; further connections fail"), mend);
    }
    if limit < FEW_FILES {
        return check("open files", State::Warn, format!("{detail} may be open; a few hundred clients use that up"), mend);
    }
    ok("open files", detail)
}

fn listeners(admin: &Admin) -> Vec<Check> {
    let listen = admin.feed.snapshot().settings.listen.clone();
    [("dashboard", listen.admin), ("proxy", listen.proxy)].into_iter().map(|(name, address)| reachable(name, &address)).collect()
}

/// Who reaches a listener.
pub(super) fn reachable(name: &str, address: &str) -> Check {
    let title = format!("listener {name}");
    let Ok(bound) = address.parse::<SocketAddr>() else { return ok(&title, address) };
    if bound.ip().is_loopback() {
        return ok(&title, format!("{address}: only from this host"));
    }
    let who = if bound.ip().is_unspecified() { "from every network this host is in" } else { "from outside this host" };
    if name == "proxy" {
        return ok(&title, format!("{address}: {who}; strangers are refused there"));
    }
    let mend = "if that is not meant, set listen.admin to a loopback or management address in lifeboat.toml and start again";
    check(&title, State::Warn, format!("{address}: its sign-in page can be reached {who}"), mend)
}
