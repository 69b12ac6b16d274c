//! Commands while Lifeboat is not running: the same verbs on the files, where that is safe. Never while another process holds them.

use http::Method;
use serde_json::Value;

use super::control::document;
use super::order::Order;
use super::out;
use crate::admin::kill;
use crate::app::Offline;
use crate::base::clock::{Clock, SystemClock};
use crate::base::fault::{Fault, Verb};
use crate::config::paths::DataDir;
use crate::crypto::random::SystemEntropy;

/// Performs one verb on the files.
pub(super) async fn send(data: &DataDir, order: &Order) -> Verb<String> {
    let offline = Offline::open(data).await?;
    let body = order.body.clone().unwrap_or(Value::Null);
    let answered = offline.call(order.method.as_str(), &order.path, &body).await;
    offline.close().await;
    let (status, bytes) = answered?;
    document(http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR), &bytes)
}

/// Prints every line of an answer.
pub(super) async fn lines(data: &DataDir, path: &str) -> Verb<()> {
    let offline = Offline::open(data).await?;
    let answered = offline.call(Method::GET.as_str(), path, &Value::Null).await;
    offline.close().await;
    let (_, bytes) = answered?;
    String::from_utf8_lossy(&bytes).lines().for_each(out::say);
    Ok(())
}

/// Engages by the file alone, so that a stopped or broken Lifeboat comes up engaged. Needs neither database nor ledger.
pub(super) fn engage(data: &DataDir, body: Option<&Value>, running: kill::Running) -> Verb<String> {
    let body = body.cloned().unwrap_or(Value::Null);
    let order: kill::OrderBody =
        serde_json::from_value(body).map_err(|cause| Fault::invalid("kill engage", "the order cannot be read").because(cause))?;
    let by = crate::app::local_actor().name;
    let engaged = kill::engage_offline(data.root(), &by, order, (SystemClock.now(), &SystemEntropy), running)?;
    serde_json::to_string(&engaged).map_err(|cause| Fault::bug("an answer that cannot be written").because(cause))
}
