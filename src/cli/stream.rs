//! The commands that print events as they come: `audit tail` and `audit export`. Never more than one event a line.

use super::args::FilterArgs;
use super::control::Control;
use super::{offline, order, out};
use crate::base::fault::{Fault, Verb};
use crate::config::paths::DataDir;

/// Prints each event until the connection ends.
pub(super) async fn tail(data: &DataDir) -> Verb<u8> {
    let Some(mut control) = Control::connect(data).await? else {
        return Err(Fault::unavailable("Lifeboat is not running, so no event will come; see audit query"));
    };
    control.lines("/api/v1/audit/tail", out::say).await?;
    Ok(0)
}

/// Prints every event that fits the filter, newest first.
pub(super) async fn export(data: &DataDir, filter: &FilterArgs) -> Verb<u8> {
    let path = format!("/api/v1/audit/export{}", order::query(filter));
    match Control::connect(data).await? {
        Some(mut control) => control.lines(&path, out::say).await?,
        None => offline::lines(data, &path).await?,
    }
    Ok(0)
}
