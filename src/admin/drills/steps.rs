//! The steps of a rebuild: each is named, timed by a clock that only goes forward, and says what it saw. Never hides a failed one.

use std::time::Instant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::fault::Verb;

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// What was done.
    pub name: String,
    /// How long it took.
    pub seconds: f64,
    /// Whether it did what it is there for.
    pub passed: bool,
    /// What was seen, or why it failed and what to do.
    pub detail: String,
}

/// Who hears of each step as it ends.
pub type Hearer = Box<dyn Fn(&Step) + Send + Sync>;

/// Steps so far.
pub struct Steps {
    begun: Instant,
    done: Vec<Step>,
    hearer: Option<Hearer>,
}

impl Steps {
    /// Starts the clock.
    pub fn begin(hearer: Option<Hearer>) -> Self {
        Self { begun: Instant::now(), done: Vec::new(), hearer }
    }

    /// Performs a step; its success brings what was seen.
    ///
    /// # Errors
    /// What the step says; it is among the steps then, as failed.
    pub async fn take<T>(&mut self, name: &str, work: impl Future<Output = Verb<(T, String)>>) -> Verb<T> {
        let begun = Instant::now();
        let result = work.await;
        match result {
            Ok((value, detail)) => {
                self.note(name, begun, true, detail);
                Ok(value)
            }
            Err(fault) => {
                self.note(name, begun, false, fault.to_string());
                Err(fault)
            }
        }
    }

    /// Adds a step that ended a moment ago.
    pub fn note(&mut self, name: &str, begun: Instant, passed: bool, detail: impl Into<String>) {
        let seconds = (begun.elapsed().as_secs_f64() * 1e4).round() / 1e4;
        self.add(Step { name: name.to_owned(), seconds, passed, detail: detail.into() });
    }

    /// Adds a step that was taken elsewhere.
    pub fn add(&mut self, step: Step) {
        if let Some(hearer) = &self.hearer {
            hearer(&step);
        }
        self.done.push(step);
    }

    /// Seconds since the clock was started.
    pub fn elapsed(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// The steps.
    pub fn into_steps(self) -> Vec<Step> {
        self.done
    }
}
