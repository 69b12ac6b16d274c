//! Names whose server or client is being added at this moment: two who add one name at one time would mix what each of them seals and approves, or end
//! each other's keys. Never outlives the process.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::base::fault::{Fault, Verb};

/// The names that somebody is adding something under.
#[derive(Debug, Default)]
pub struct Names(Mutex<BTreeSet<String>>);

impl Names {
    /// Holds a name until the guard goes.
    ///
    /// # Errors
    /// `Conflict` while somebody else holds it.
    pub(super) fn hold(&self, noun: &str, name: &str) -> Verb<Held<'_>> {
        let held = format!("{noun} {name}");
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.insert(held.clone()) {
            return Ok(Held { names: self, name: held });
        }
        Err(Fault::conflict(format!("somebody else is adding a {held} at this moment")))
    }
}

/// A name that is held.
#[derive(Debug)]
pub(super) struct Held<'a> {
    names: &'a Names,
    name: String,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.names.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::fault::FaultKind;

    #[test]
    fn one_name_is_added_once_at_a_time() {
        let names = Names::default();
        let held = names.hold("server", "a").expect("free");
        assert_eq!(names.hold("server", "a").expect_err("held").kind, FaultKind::Conflict);
        assert!(names.hold("client", "a").is_ok());
        drop(held);
        assert!(names.hold("server", "a").is_ok());
    }
}
