//! A server's turn, lent for a moment: another process of it, with other secrets, is looked at in the one vault while calls wait as they do for a start. Never
//! lends while a call is at work, and never has two processes in a vault.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::supervise::Supervisor;
use super::{Phase, Shared, StdioServer};

/// How long calls that are under way may take to end. With the start of the next process it must stay below what a call waits for a start.
pub const CALM: Duration = Duration::from_secs(3);
/// Whoever has just been told that the server is up is not in the table yet.
const LOOK: Duration = Duration::from_millis(25);
const LOOKS: u32 = 3;

/// Somebody who wants the turn.
pub(super) struct Loan {
    granted: oneshot::Sender<()>,
    back: oneshot::Receiver<()>,
}

/// The turn, until it is dropped.
pub struct Lent {
    _back: oneshot::Sender<()>,
}

impl StdioServer {
    /// Ends the process and lends its turn. It starts again once that is given back; calls wait until then.
    ///
    /// # Errors
    /// A sentence: it was not lent.
    pub async fn lend(&self) -> Result<Lent, String> {
        let ((granted, heard), (give, back)) = (oneshot::channel(), oneshot::channel());
        let asked = async {
            self.loans.send(Loan { granted, back }).await.map_err(|_| "its process is being stopped")?;
            heard.await.map_err(|_| "calls to it are under way, and its process may not end before them")
        };
        match tokio::time::timeout(CALM * 3, asked).await {
            Ok(lent) => lent.map(|()| Lent { _back: give }).map_err(str::to_owned),
            Err(_) => Err("its process does not end".to_owned()),
        }
    }

    /// Waits until no call is in flight; whoever only listens is no call. Says whether that is so.
    pub async fn calm(&self, wait: Duration) -> bool {
        let looking = async {
            // Calls that wait for a process that starts are not in the table yet.
            let _ = self.ready(wait).await;
            self.shared.calm(wait).await
        };
        tokio::time::timeout(wait, looking).await.unwrap_or(false)
    }
}

impl Shared {
    async fn calm(&self, wait: Duration) -> bool {
        let looking = async {
            let mut still = 0;
            while still < LOOKS {
                tokio::time::sleep(LOOK).await;
                still = if self.table().is_calm() { still + 1 } else { 0 };
            }
        };
        tokio::time::timeout(wait, looking).await.is_ok()
    }
}

impl Supervisor {
    /// Waits for somebody who wants the turn and can have it: calls wait from then on.
    pub(super) async fn asked(&self, loans: &mut mpsc::Receiver<Loan>) -> Loan {
        while let Some(loan) = loans.recv().await {
            let mut before = self.shared.phase.borrow().clone();
            loop {
                self.shared.set_phase(Phase::Starting);
                if !self.shared.calm(CALM).await {
                    self.shared.set_phase(before);
                    break;
                }
                let now = self.shared.phase.borrow().clone();
                // One that had just started was up meanwhile, and was told so.
                if now == Phase::Starting {
                    return loan;
                }
                before = now;
            }
        }
        std::future::pending().await
    }

    /// Lends the turn, which whoever calls this has let go, until it comes back.
    pub(super) async fn lend(&self, loan: Loan) {
        if loan.granted.send(()).is_ok() {
            tokio::select! {
                _ = loan.back => {}
                () = self.stop.cancelled() => {}
            }
        }
    }
}
