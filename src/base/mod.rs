//! Words every module needs: time, identifiers, secrets, sizes, faults, addresses. Never does I/O and never names another module.

pub mod address;
pub mod clock;
pub mod fault;
pub mod ids;
pub mod net;
pub mod secret;
pub mod size;
