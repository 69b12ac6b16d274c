//! Long work with archives: on a thread of its own, behind everything that serves calls. Never takes a thread of the runtime.

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::base::fault::{Fault, Verb};

/// A tenth of the share that a thread which serves gets, where both want the same core. What it starts inherits it: the compressor too.
const NICE: i32 = 10;

/// Does long work and waits for it.
///
/// # Errors
/// What the work says; `Unavailable` when there is no thread for it.
pub(super) async fn behind<T: Send + 'static>(work: impl FnOnce() -> Verb<T> + Send + 'static) -> Verb<T> {
    let (runtime, (tell, told)) = (Handle::current(), oneshot::channel());
    let thread = std::thread::Builder::new().name("archives".to_owned()).spawn(move || {
        let _entered = runtime.enter();
        // Where the system does not allow it, it works as fast as the others.
        let _ = rustix::process::nice(NICE);
        let _ = tell.send(work());
    });
    thread.map_err(|e| Fault::unavailable("there is no thread for the work with archives").because(e))?;
    told.await.map_err(|e| Fault::bug("the work with archives was interrupted").because(e))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share() -> String {
        // Field 19 of what the system tells of a thread: its nice value.
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        stat.rsplit_once(')').unwrap().1.split_whitespace().nth(16).unwrap().to_owned()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_work_stands_behind_and_whoever_waits_does_not() {
        let before = share();
        let (inside, below) = behind(|| Ok((share(), std::thread::spawn(share).join().unwrap()))).await.unwrap();
        assert_eq!((inside.clone(), below), ("10".to_owned(), "10".to_owned()));
        assert_eq!(share(), before);
        let fault = behind(|| Err::<(), _>(Fault::conflict("no"))).await.unwrap_err();
        assert_eq!(fault.message, "no");
    }
}
