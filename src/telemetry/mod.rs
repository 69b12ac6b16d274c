//! JSON logs and metrics. Never holds a secret, and never makes a request wait for a log sink.

pub mod logs;
pub mod metrics;
pub mod pace;
mod sink;
