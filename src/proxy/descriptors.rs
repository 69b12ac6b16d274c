//! Who may hold how many of the process's descriptors: clients, servers and operators each have a part, and a part is nobody's, for files,
//! children and the kill switch. Never opens one.

use std::sync::{Arc, LazyLock};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::Semaphore;

// Databases, ledger, event queues, the control socket, and a kill that must be written.
const KEPT: usize = 96;
const OPERATORS: usize = 16;
const LEAST: usize = 8;
/// Three pipes, and one to spare.
const CHILD: usize = 4;
const CHILDREN: usize = 1_024;
const SERVERS: usize = 8_192;

/// Raises the soft limit to the hard one: the soft one is low for programs that Lifeboat is none of.
pub fn raise() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(fault) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!(soft, hard, %fault, "the limit of open files stays as low as it is");
    }
}

/// Places for connections of clients, `most` at most.
pub fn for_clients(most: usize) -> usize {
    Parts::of(limit()).clients.min(most)
}

/// Places for connections of operators, `most` at most.
pub fn for_operators(most: usize) -> usize {
    Parts::of(limit()).operators.min(most)
}

/// Places for connections to servers, those of the whole process together.
pub fn for_servers() -> Arc<Semaphore> {
    static PLACES: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(Parts::of(limit()).servers)));
    PLACES.clone()
}

/// Places for children, those of the whole process together.
pub fn for_children() -> Arc<Semaphore> {
    static PLACES: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(Parts::of(limit()).children)));
    PLACES.clone()
}

fn limit() -> usize {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(1_024, |(soft, _)| usize::try_from(soft).unwrap_or(usize::MAX))
}

#[derive(Debug, PartialEq, Eq)]
struct Parts {
    clients: usize,
    operators: usize,
    servers: usize,
    children: usize,
}

impl Parts {
    fn of(limit: usize) -> Self {
        let operators = (limit / 8).clamp(OPERATORS, 1_024);
        let children = (limit / 8 / CHILD).clamp(LEAST, CHILDREN);
        // Each call may need a connection on either side.
        let half = (limit.saturating_sub(KEPT + operators + children * CHILD) / 2).max(LEAST);
        Self { clients: half, operators, servers: half.min(SERVERS), children }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flt_12_the_parts_leave_enough_for_the_kill_switch() {
        assert_eq!(Parts::of(256), Parts { clients: 48, operators: 32, servers: 48, children: 8 });
        for limit in [256, 1_024, 20_000, 1 << 20] {
            let parts = Parts::of(limit);
            let all = parts.clients + parts.operators + parts.servers + parts.children * CHILD + KEPT;
            assert!(all <= limit, "{limit}: {parts:?}");
        }
        assert_eq!(Parts::of(0).clients, LEAST, "a limit that is far too low still serves somebody");
    }
}
