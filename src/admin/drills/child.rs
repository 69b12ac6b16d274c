//! The process that performs a drill: started with nothing of this one but its instructions, heard while it works, and ended when its time is
//! over. Nothing secret is ever among its arguments or in its environment.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

use super::order::{Instructions, Outcome, SUBCOMMAND, Told};
use super::steps::Step;
use crate::base::fault::{Fault, Verb};

/// The log of the process, in the sandbox.
pub(super) const LOG: &str = "drill.log";

/// What was heard of it.
pub(super) struct Heard {
    /// Every step.
    pub steps: Vec<Step>,
    /// How it ended; none when its time was over or it died.
    pub outcome: Option<Outcome>,
    /// Whether it was ended because its time was over.
    pub timed_out: bool,
}

/// Performs a drill in a process of its own.
///
/// # Errors
/// When it cannot be started.
pub(super) async fn perform(told: &Instructions, budget: Duration, hear: impl Fn(&Step)) -> Verb<Heard> {
    let mut child = start(&told.sandbox)?;
    let mut heard = Heard { steps: Vec::new(), outcome: None, timed_out: false };
    let text = serde_json::to_vec(told).map_err(|e| Fault::bug("instructions that cannot be written").because(e))?;
    let listening = listen(&mut child, text, &mut heard, hear);
    match tokio::time::timeout(budget, listening).await {
        Ok(listened) => listened?,
        Err(_) => heard.timed_out = true,
    }
    // Its children die with it; a drill that is over needs nothing more.
    let _ = child.start_kill();
    let _ = child.wait().await;
    Ok(heard)
}

fn start(sandbox: &Path) -> Verb<Child> {
    let failed = |e: std::io::Error| Fault::unavailable("the drill's process cannot be started").because(e);
    let exe = std::env::current_exe().map_err(failed)?;
    let log = std::fs::File::create(sandbox.join(LOG)).map_err(failed)?;
    Command::new(exe)
        .arg(SUBCOMMAND)
        .env_clear()
        .env("HOME", sandbox)
        .env("TMPDIR", sandbox)
        .env("LANG", "C.UTF-8")
        .current_dir(sandbox)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)
}

async fn listen(child: &mut Child, text: Vec<u8>, heard: &mut Heard, hear: impl Fn(&Step)) -> Verb<()> {
    let failed = |e: std::io::Error| Fault::unavailable("the drill's process cannot be talked to").because(e);
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(Fault::bug("a process without pipes"));
    };
    stdin.write_all(&text).await.map_err(failed)?;
    stdin.shutdown().await.map_err(failed)?;
    drop(stdin);
    let mut lines = BufReader::new(stdout).lines();
    while let Some(line) = lines.next_line().await.map_err(failed)? {
        // The rebuilt deployment says its checkpoints on the same pipe.
        match serde_json::from_str::<Told>(&line) {
            Ok(Told::Step(step)) => {
                hear(&step);
                heard.steps.push(step);
            }
            Ok(Told::Over(outcome)) => {
                heard.outcome = Some(outcome);
                return Ok(());
            }
            Err(_) => {}
        }
    }
    Ok(())
}
