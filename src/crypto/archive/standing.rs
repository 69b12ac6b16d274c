//! How much of the cores the work of an archive may take. Never a right to more than others have.

use std::io;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy};

/// How the work of an archive makes room for what cannot wait.
pub trait Pace: Send + Sync {
    /// Whether something wants the disk and the cores now.
    fn is_due(&self) -> bool;

    /// After a piece of work that took so long. May block.
    fn rest(&self, took: Duration);
}

/// Goes on at once.
pub struct AtOnce;

impl Pace for AtOnce {
    fn is_due(&self) -> bool {
        false
    }

    fn rest(&self, _: Duration) {}
}

/// How much of a core the calling thread has had.
pub fn worked() -> Duration {
    // A system that has no such clock has threads that never rest.
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// Where a thread stands among the others of this host.
#[derive(Clone, Copy)]
pub(super) enum Standing<'a> {
    /// As the thread that starts it: somebody waits for the result.
    Same,
    /// Behind everything: it works while a core has nothing else to do, and makes room in the instant a call wants it (`SCHED_IDLE`, sched(7)). For
    /// threads that only compute: one that holds a file system's lock must not wait for its turn. Between two pieces it rests.
    Last(&'a dyn Pace),
}

impl<'a> Standing<'a> {
    /// Puts the calling thread there; those it starts afterwards inherit it.
    pub(super) fn take(self) {
        if matches!(self, Self::Last(_)) {
            let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
            // A host that forbids it, or the nice value that means nothing there, leaves the thread where it was.
            let _ = thread_priority::set_thread_priority_and_policy(thread_priority::thread_native_id(), ThreadPriority::Min, idle);
        }
    }

    /// The pieces of work of one thread.
    pub(super) fn pieces(self) -> Pieces<'a> {
        let pace = match self {
            Self::Same => None,
            Self::Last(pace) => Some(pace),
        };
        Pieces { pace, worked: None }
    }
}

/// Tells one piece of work of a thread from the next.
pub(super) struct Pieces<'a> {
    pace: Option<&'a dyn Pace>,
    worked: Option<Duration>,
}

impl Pieces<'_> {
    /// A piece is done: the thread rests before the next one.
    pub(super) fn next(&mut self) {
        let Some(pace) = self.pace else { return };
        let worked = worked();
        if let Some(before) = self.worked.replace(worked) {
            pace.rest(worked.saturating_sub(before));
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
            Standing::Last(&AtOnce).take();
            work()
        });
        thread.join()
    });
    done.map_err(|_| io::Error::other("the archive's thread broke off"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Told(std::sync::Mutex<Vec<Duration>>);

    impl Pace for Told {
        fn is_due(&self) -> bool {
            true
        }

        fn rest(&self, took: Duration) {
            self.0.lock().unwrap().push(took);
        }
    }

    fn policy() -> String {
        // Field 41 of what the system tells of a thread: its policy; 5 is SCHED_IDLE, 0 the usual one.
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        stat.rsplit_once(')').unwrap().1.split_whitespace().nth(38).unwrap().to_owned()
    }

    #[test]
    fn who_stands_last_takes_its_threads_along_and_nobody_else() {
        let last = std::thread::spawn(|| {
            Standing::Last(&AtOnce).take();
            (policy(), std::thread::spawn(policy).join().unwrap())
        });
        assert_eq!(last.join().unwrap(), ("5".to_owned(), "5".to_owned()));
        assert_eq!(super::last(policy).unwrap(), "5");
        Standing::Same.take();
        assert_eq!(policy(), "0");
    }

    #[test]
    fn a_rest_follows_each_piece_and_knows_what_it_took() {
        let told = Told::default();
        let mut pieces = Standing::Last(&told).pieces();
        pieces.next();
        assert!(told.0.lock().unwrap().is_empty(), "nothing was done yet");
        let from = worked();
        while worked() - from < Duration::from_millis(3) {}
        pieces.next();
        // Waiting is no work.
        std::thread::park_timeout(Duration::from_millis(30));
        pieces.next();
        let rested = told.0.into_inner().unwrap();
        assert!(rested.len() == 2 && rested[0] >= Duration::from_millis(3), "{rested:?}");
        assert!(rested[1] < Duration::from_millis(20), "{rested:?}");
        Standing::Same.pieces().next();
    }
}
