//! The verbs through the whole app: the kill switch, the desired state, the ledger.

mod desired;
mod kill;
mod ledger;
