//! How much of the cores the work of an archive may take. Never a right to more than others have.

use std::io;

use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy};

/// Where a thread stands among the others of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// As the thread that starts it: somebody waits for the result.
    Same,
    /// Behind everything: it works while a core has nothing else to do, and makes room in the instant a call wants it (`SCHED_IDLE`, sched(7)). For
    /// threads that only compute: one that holds a file system's lock must not wait for its turn.
    Last,
}

impl Standing {
    /// Puts the calling thread there; those it starts afterwards inherit it.
    pub(super) fn take(self) {
        if self == Self::Last {
            let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
            // A host that forbids it, or the nice value that means nothing there, leaves the thread where it was.
            let _ = thread_priority::set_thread_priority_and_policy(thread_priority::thread_native_id(), ThreadPriority::Min, idle);
        }
    }
}

/// Does `work` on a thread that stands last, and waits for it. The calling thread stays where it is: not every account may leave that place again.
///
/// # Errors
/// When the thread broke off.
pub fn last<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let done = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            Standing::Last.take();
            work()
        });
        thread.join()
    });
    done.map_err(|_| io::Error::other("the archive's thread broke off"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> String {
        // Field 41 of what the system tells of a thread: its policy; 5 is SCHED_IDLE, 0 the usual one.
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        stat.rsplit_once(')').unwrap().1.split_whitespace().nth(38).unwrap().to_owned()
    }

    #[test]
    fn who_stands_last_takes_its_threads_along_and_nobody_else() {
        let last = std::thread::spawn(|| {
            Standing::Last.take();
            (policy(), std::thread::spawn(policy).join().unwrap())
        });
        assert_eq!(last.join().unwrap(), ("5".to_owned(), "5".to_owned()));
        assert_eq!(super::last(policy).unwrap(), "5");
        Standing::Same.take();
        assert_eq!(policy(), "0");
    }
}
