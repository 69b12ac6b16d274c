//! Starts the child again when it ends, ever more slowly, and tells its state. Never starts what was not approved on this host.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedMutexGuard, mpsc};
use tokio_util::sync::CancellationToken;

use super::guest::Guest;
use super::handshake::Words;
use super::launch::launch;
use super::lend::Loan;
use super::life::{End, live};
use super::turn::turn;
use super::{Phase, Shared};
use crate::policy::snapshot::ServerEntry;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long the server before may take to end.
const TURN_WAIT: Duration = Duration::from_secs(8);
/// A pause that a call may well wait for.
const SOON: Duration = Duration::from_secs(2);
/// Whoever was up this long has recovered.
const RECOVERED: Duration = Duration::from_secs(60);

/// The long-lived task of one server.
pub(super) struct Supervisor {
    pub(super) shared: Arc<Shared>,
    pub(super) entry: Arc<ServerEntry>,
    pub(super) stop: CancellationToken,
    pub(super) data: PathBuf,
    pub(super) exe: PathBuf,
}

impl Supervisor {
    pub(super) async fn run(self, loans: mpsc::Receiver<Loan>) {
        if !self.entry.secrets.approved {
            let why = "its command line is not approved on this host; `lifeboat server approve` does that";
            self.shared.set_phase(Phase::Never(why.to_owned()));
            return self.stop.cancelled().await;
        }
        if self.shared.guest.is_some() {
            return self.live_once().await;
        }
        let Some(turn) = self.turn().await else { return self.over() };
        self.keep_alive(turn, loans).await;
        self.over();
    }

    /// A child of one session: its end is the session's. The shared child of its server holds the turn.
    async fn live_once(&self) {
        if let End::Failed { why, .. } = self.one_life(Words::Handshake, &self.stop).await {
            tracing::warn!(server = %self.shared.name, "{why}");
        }
        self.over();
        self.shared.table().clear();
        self.shared.guest.iter().for_each(Guest::leave);
    }

    /// Waits until the server before, of the same name, has left the vault. `None`: stopped meanwhile.
    async fn turn(&self) -> Option<OwnedMutexGuard<()>> {
        let waiting = turn(self.data.join("vaults").join(&*self.entry.name));
        tokio::pin!(waiting);
        loop {
            tokio::select! {
                turn = &mut waiting => return Some(turn),
                () = self.stop.cancelled() => return None,
                () = tokio::time::sleep(TURN_WAIT) => {
                    let why = "another process of this server is still running";
                    self.shared.phase.send_replace(Phase::Down(why.to_owned()));
                }
            }
        }
    }

    // The state is not told: the server that comes next, or nobody, has one now.
    fn over(&self) {
        self.shared.phase.send_replace(Phase::Down("the server was stopped".to_owned()));
    }

    async fn keep_alive(&self, turn: OwnedMutexGuard<()>, mut loans: mpsc::Receiver<Loan>) {
        let mut turn = Some(turn);
        let (mut pause, mut failures, mut words) = (FIRST_PAUSE, 0u32, Words::Both);
        self.shared.set_phase(Phase::Starting);
        while !self.stop.is_cancelled() {
            let began = Instant::now();
            let lived = self.life(words, &mut loans).await;
            self.shared.table().clear();
            let end = match lived {
                Ok(end) => end,
                Err(loan) => {
                    if self.hand_over(&mut turn, loan).await {
                        continue;
                    } else {
                        break;
                    }
                }
            };
            if began.elapsed() >= RECOVERED || end == End::Disobeyed {
                (pause, failures) = (FIRST_PAUSE, 0);
            }
            match end {
                End::Stopped => break,
                End::OtherWords => {
                    words = words.others();
                    tracing::info!(server = %self.shared.name, "one process of it keeps the era of its first message; it starts again");
                    continue;
                }
                End::Disobeyed => {
                    tracing::warn!(server = %self.shared.name, "a killed call did not end; the server was killed and starts again");
                    self.shared.set_phase(Phase::Starting);
                }
                End::Failed { why, greeted } => {
                    tracing::warn!(server = %self.shared.name, "{why}");
                    failures = if greeted { 0 } else { failures + 1 };
                    words = words.after_failure(greeted);
                    // A call waits for a server that will be there soon, and for no other.
                    let soon = failures < 2 && pause <= SOON;
                    self.shared.set_phase(if soon { Phase::Starting } else { Phase::Down(why) });
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                loan = self.asked(&mut loans) => if !self.hand_over(&mut turn, loan).await { break },
                () = self.stop.cancelled() => break,
            }
        }
    }

    /// Lends the turn and has it again; `false` when the server was stopped meanwhile.
    async fn hand_over(&self, turn: &mut Option<OwnedMutexGuard<()>>, loan: Loan) -> bool {
        drop(turn.take());
        self.lend(loan).await;
        *turn = self.turn().await;
        // Whoever had the turn told a state of its own.
        self.shared.set_phase(Phase::Starting);
        turn.is_some()
    }

    /// One life, unless somebody wants the turn: it ends for that.
    async fn life(&self, words: Words, loans: &mut mpsc::Receiver<Loan>) -> Result<End, Loan> {
        let stop = self.stop.child_token();
        let living = self.one_life(words, &stop);
        tokio::pin!(living);
        tokio::select! {
            end = &mut living => Ok(end),
            loan = self.asked(loans) => {
                stop.cancel();
                living.await;
                Err(loan)
            }
        }
    }

    async fn one_life(&self, words: Words, stop: &CancellationToken) -> End {
        let (entry, data, exe) = (self.entry.clone(), self.data.clone(), self.exe.clone());
        let prepared = tokio::task::spawn_blocking(move || launch(&entry, &data, &exe)).await;
        match prepared {
            Ok(Ok(launch)) => live(&self.shared, launch, words, stop).await,
            Ok(Err(why)) => End::Failed { why, greeted: false },
            Err(fault) => End::Failed { why: fault.to_string(), greeted: false },
        }
    }
}
