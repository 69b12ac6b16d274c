//! The verbs through the whole app: the kill switch, the desired state, the ledger.

mod dashboard;
mod desired;
mod kill;
mod ledger;
mod reload;
mod tools;
