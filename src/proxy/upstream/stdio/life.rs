//! One life of a child, from its start to its end. Whatever way it ends, nothing of it is left running.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::FusedFuture;
use tokio::io::BufReader;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Handshake;
use super::child::{self, Running};
use super::errors::{self, LastWords};
use super::handshake::{self, Unmet, Words};
use super::launch::Launch;
use super::lines::{self, Over};
use super::{OUTBOX, Phase, Shared, locked};

/// How long a child whose input was closed may take, and how long after it was asked to end.
const CLOSE_WAIT: Duration = Duration::from_secs(1);
const TERM_WAIT: Duration = Duration::from_secs(1);

/// How a life ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Lifeboat stopped it.
    Stopped,
    /// It was killed because a killed call did not end.
    Disobeyed,
    /// Lifeboat ended it because the next may understand other first words.
    OtherWords,
    /// It failed, with why; `greeted` says whether it had answered the handshake.
    Failed { why: String, greeted: bool },
}

const LAST_WORDS_WAIT: Duration = Duration::from_millis(500);

/// Starts a child and stays with it to its end.
pub(super) async fn live(shared: &Arc<Shared>, launch: Launch, words: Words, stop: &CancellationToken) -> End {
    let secrets = launch.secrets.clone();
    let failed = |why| End::Failed { why, greeted: false };
    let (running, pipes) = match child::start(launch).await {
        Ok(started) => started,
        Err(why) => return failed(why),
    };
    let (sender, outbox) = mpsc::channel(OUTBOX);
    *locked(&shared.outbox) = Some(sender);
    let last = LastWords::default();
    let errors = errors::read(BufReader::new(pipes.stderr), shared, &secrets, &last).fuse();
    tokio::pin!(errors);
    let end = {
        let served = serve(shared, &running, pipes.stdin, pipes.stdout, (outbox, words));
        tokio::select! {
            end = served => end,
            () = stop.cancelled() => End::Stopped,
            // Standard error ends with the child, but may be closed long before.
            () = async { (&mut errors).await; std::future::pending().await } => End::Stopped,
        }
    };
    *locked(&shared.outbox) = None;
    if end != End::Stopped {
        shared.set_phase(Phase::Starting);
    }
    // Its input is closed now. Whoever only fell silent is killed; whoever did nothing wrong may end in order.
    if matches!(end, End::Stopped | End::OtherWords) {
        let ended = async {
            if tokio::time::timeout(CLOSE_WAIT, running.ended()).await.is_err() {
                running.terminate();
                let _ = tokio::time::timeout(TERM_WAIT, running.ended()).await;
            }
        };
        ended.await;
    }
    running.kill().await;
    // What it said last may still be in the pipe, and is what the operator needs.
    if !errors.is_terminated() {
        let _ = tokio::time::timeout(LAST_WORDS_WAIT, &mut errors).await;
    }
    end_with_last_words(end, &last)
}

fn end_with_last_words(end: End, last: &LastWords) -> End {
    match end {
        End::Failed { why, greeted } => {
            let words = locked(&last.0).clone();
            let why = if words.is_empty() { format!("the server {why}") } else { format!("the server {why}; it said: {words}") };
            End::Failed { why, greeted }
        }
        other => other,
    }
}

type Wiring = (mpsc::Receiver<super::Outgoing>, Words);

async fn serve(
    shared: &Arc<Shared>,
    running: &Running,
    stdin: tokio::process::ChildStdin,
    stdout: tokio::process::ChildStdout,
    (outbox, words): Wiring,
) -> End {
    let mut greeted = false;
    let talk = async {
        if shared.guest.is_some() {
            // Its one client greets it.
            shared.set_phase(Phase::Up(Handshake::default()));
            outlived(shared).await;
            return Err(End::Disobeyed);
        }
        match handshake::greet(shared, words).await {
            Ok(handshake) => {
                shared.set_phase(Phase::Up(handshake));
                greeted = true;
            }
            Err(Unmet::OtherWords) => return Err(End::OtherWords),
            Err(Unmet::Failed(why)) => return Ok(Over::Broken(why)),
        }
        outlived(shared).await;
        Err(End::Disobeyed)
    };
    let over = tokio::select! {
        why = lines::read(BufReader::with_capacity(64 << 10, stdout), shared) => Ok(why),
        why = lines::write(stdin, outbox, shared) => Ok(why),
        over = talk => over,
    };
    let why = match over {
        Err(end) => return end,
        Ok(Over::Broken(why)) => why,
        // The pipe closes a moment before the end is known.
        Ok(Over::Closed(why)) => tokio::time::timeout(Duration::from_millis(300), running.ended()).await.unwrap_or(why),
    };
    End::Failed { why, greeted }
}

/// Waits until a killed call has outlived its time.
async fn outlived(shared: &Shared) {
    loop {
        let first = shared.table().first_deadline();
        match first {
            Some(deadline) if deadline <= Instant::now() => return,
            Some(deadline) => tokio::select! {
                () = tokio::time::sleep_until(deadline.into()) => {}
                () = shared.deadline.notified() => {}
            },
            None => shared.deadline.notified().await,
        }
    }
}
