//! What the values of `alerts.toml` must mean. Never resolves a name and never opens a file.

use std::collections::BTreeSet;

use super::ConfigFault;
use super::alerts::{Alerting, Wrong, pattern};
use super::document::Document;
use crate::base::ids::check_name;

const MOST: usize = 50;

pub(super) fn alerts(document: &Document<'_>, alerts: &Alerting, faults: &mut Vec<ConfigFault>) {
    let mut seen = BTreeSet::new();
    if alerts.receivers.len() > MOST {
        faults.push(document.at(&["receiver"], format!("there may be {MOST} receivers at most")));
    }
    for (index, receiver) in alerts.receivers.iter().enumerate() {
        let at = index.to_string();
        let mut wrong = |path: &[&str], message: String| {
            let whole: Vec<&str> = ["receiver", at.as_str()].iter().chain(path).copied().collect();
            faults.push(document.at(&whole, message));
        };
        if let Err(message) = check_name(&receiver.name) {
            wrong(&["name"], message.to_owned());
        }
        if !seen.insert(receiver.name.as_str()) {
            wrong(&["name"], format!("receiver \"{}\" is there twice", receiver.name));
        }
        if receiver.rules.is_empty() {
            wrong(&["rules"], "must name one pattern at least, such as \"*\"".to_owned());
        }
        for (place, rule) in receiver.rules.iter().enumerate() {
            if let Err(message) = pattern(rule) {
                wrong(&["rules", &place.to_string()], message);
            }
        }
        if let Err(found) = receiver.target() {
            path_of(&found, |path| wrong(path, found.message.clone()));
        }
    }
    let watchdog = &alerts.watchdog;
    if !(10..=86_400).contains(&watchdog.every_seconds) {
        faults.push(document.at(&["watchdog", "every_seconds"], "must be from 10 to 86400"));
    }
    if let Some(Err(found)) = watchdog.target() {
        path_of(&found, |path| {
            let whole: Vec<&str> = ["watchdog"].iter().chain(path).copied().collect();
            faults.push(document.at(&whole, found.message.clone()));
        });
    }
}

fn path_of(wrong: &Wrong, told: impl FnOnce(&[&str])) {
    match wrong.index {
        Some(index) => told(&[wrong.key, &index.to_string()]),
        None => told(&[wrong.key]),
    }
}
