//! The process that performs a drill for another one: instructions come on standard input, steps go out line by line. Nobody types this command.

use std::ffi::OsString;
use std::io::Read as _;
use std::sync::Arc;

use super::out;
use crate::admin::drills::order::{Instructions, Outcome, Told};
use crate::app::drill;
use crate::app::drill::isolate::{self, Errand};

pub(super) use crate::admin::drills::order::SUBCOMMAND;

const DONE: u8 = 0;
const FAULT: u8 = 1;

/// Performs it; or an errand for the one that does.
pub(super) fn perform(arguments: &[OsString]) -> u8 {
    if let Some(errand) = Errand::named(arguments.first().and_then(|word| word.to_str())) {
        let Err(why) = errand.perform(out::say) else { return DONE };
        out::say(&why);
        return FAULT;
    }
    // First of all: a thread would stay where it is, and a process whose memory is closed cannot say which accounts it has.
    let isolation = isolate::enter();
    super::harden::harden();
    let mut text = String::new();
    let read = std::io::stdin().read_to_string(&mut text).map_err(|e| e.to_string());
    let told = read.and_then(|_| serde_json::from_str::<Instructions>(&text).map_err(|e| e.to_string()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let (Ok(told), Ok(runtime)) = (told, runtime) else {
        say(&Told::Over(Outcome { fault: Some("the drill's instructions cannot be read".to_owned()), ..Outcome::default() }));
        return FAULT;
    };
    let _log = crate::telemetry::logs::init();
    let _metrics = crate::telemetry::metrics::install();
    let outcome = runtime.block_on(drill::perform(told, isolation, Arc::new(say)));
    runtime.shutdown_background();
    if outcome.recovered { DONE } else { FAULT }
}

fn say(told: &Told) {
    if let Ok(text) = serde_json::to_string(told) {
        out::say(&text);
    }
}
