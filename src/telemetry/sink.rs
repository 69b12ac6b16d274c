//! A bounded queue of log lines and the thread that writes them. Never waits: when the queue is full a line is dropped and counted.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use crate::base::fault::{Fault, Verb};

const FLUSH: Duration = Duration::from_millis(500);

/// Where log lines go in. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Sink {
    queue: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Entry {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

impl Sink {
    /// Starts the thread that writes to `target`; `capacity` lines may wait.
    ///
    /// # Errors
    /// `Unavailable` when no thread can be started.
    pub(super) fn start(target: impl Write + Send + 'static, capacity: usize) -> Verb<Self> {
        let (queue, lines) = sync_channel(capacity);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = dropped.clone();
        std::thread::Builder::new()
            .name("lifeboat-log".into())
            .spawn(move || write_all(target, &lines, &counter))
            .map_err(|e| Fault::unavailable("cannot start the log's thread").because(e))?;
        Ok(Self { queue, dropped })
    }

    /// Lines dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until what was logged before is written, half a second at most: a stuck sink must not hold the end of the process.
    pub(super) fn flush(&self) {
        let (done, wait) = sync_channel(1);
        let deadline = Instant::now() + FLUSH;
        let mut entry = Entry::Flush(done);
        while let Err(std::sync::mpsc::TrySendError::Full(back)) = self.queue.try_send(entry) {
            if Instant::now() > deadline {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(5));
            entry = back;
        }
        // Timed out or gone: there is nothing more to do for those lines.
        let _: Result<(), RecvTimeoutError> = wait.recv_timeout(FLUSH);
    }
}

fn write_all(mut target: impl Write, lines: &Receiver<Entry>, dropped: &AtomicU64) {
    let mut told = 0;
    while let Ok(entry) = lines.recv() {
        // An error of the sink has nowhere to be reported but the sink.
        let _ = match entry {
            Entry::Line(line) => target.write_all(&line),
            Entry::Flush(done) => {
                let flushed = target.flush();
                let _ = done.try_send(());
                flushed
            }
        };
        let lost = dropped.load(Ordering::Relaxed);
        if lost > told {
            let _ = writeln!(target, r#"{{"level":"WARN","message":"log lines were dropped","dropped":{}}}"#, lost - told);
            told = lost;
        }
    }
}

/// One line on its way; what is written piece by piece is sent whole.
#[derive(Debug)]
pub(super) struct Line<'a> {
    sink: &'a Sink,
    bytes: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let line = std::mem::take(&mut self.bytes);
        if !line.is_empty() && self.sink.queue.try_send(Entry::Line(line)).is_err() {
            self.sink.dropped.fetch_add(1, Ordering::Relaxed);
            metrics::counter!("lifeboat_log_lines_dropped_total").increment(1);
        }
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Sink {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Line { sink: self, bytes: Vec::new() }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Condvar, Mutex};

    use tracing_subscriber::fmt::MakeWriter as _;

    use super::*;

    /// Whether somebody reads, and what was read.
    type State = (bool, Vec<u8>);

    /// A pipe that nobody reads until it is opened.
    #[derive(Clone, Default)]
    pub(in crate::telemetry) struct Pipe(Arc<(Mutex<State>, Condvar)>);

    impl Pipe {
        pub(in crate::telemetry) fn open(&self) {
            self.0.0.lock().unwrap().0 = true;
            self.0.1.notify_all();
        }

        pub(in crate::telemetry) fn text(&self) -> String {
            String::from_utf8(self.0.0.lock().unwrap().1.clone()).unwrap()
        }
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self.0.1.wait_while(self.0.0.lock().unwrap(), |state| !state.0).unwrap();
            state.1.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn flt_26_a_stuck_sink_never_holds_the_writer_and_drops_are_counted() {
        let pipe = Pipe::default();
        let sink = Sink::start(pipe.clone(), 10).unwrap();
        let begun = Instant::now();
        for n in 0..1000 {
            writeln!(sink.make_writer(), "line {n}").unwrap();
        }
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        assert!((988..=990).contains(&sink.dropped()), "{}", sink.dropped());
        pipe.open();
        sink.flush();
        let text = pipe.text();
        assert!(text.starts_with("line 0\n") && text.contains(r#""dropped":9"#), "{text}");
    }

    #[test]
    fn flt_26_a_stuck_sink_does_not_hold_the_end_of_the_process() {
        let sink = Sink::start(Pipe::default(), 1).unwrap();
        for _ in 0..5 {
            sink.make_writer().write_all(b"x\n").unwrap();
        }
        let begun = Instant::now();
        sink.flush();
        assert!(begun.elapsed() < Duration::from_secs(2));
    }
}
