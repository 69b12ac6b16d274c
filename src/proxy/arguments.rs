//! Stage: do the arguments fit the schema that was taken in with the tool. Makes the [`Permit`], which nothing else can make. Never
//! changes an argument, and never fetches a schema.
//!
//! A permit cannot be made by hand, so what skipped the stages cannot be sent:
//!
//! ```compile_fail,E0423
//! use lifeboat::proxy::arguments::Permit;
//! fn forge(authorised: lifeboat::proxy::authz::Authorised) -> Permit {
//!     Permit(authorised)
//! }
//! ```

use std::collections::{HashMap, HashSet};
use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::Shared;
use super::authz::Authorised;
use super::refuse::Refusal;
use crate::inspect::schema::{Misfit, Schema, Unusable};
use crate::mcp::era::Era;
use crate::mcp::message::Message;
use crate::mcp::method::MethodKind;
use crate::mcp::reply;
use crate::policy::Snapshot;

/// A call that may be sent: permitted, and its arguments fit. Only [`check`] makes one, and sending takes it by value.
pub struct Permit(Authorised);

impl Deref for Permit {
    type Target = Authorised;

    fn deref(&self) -> &Authorised {
        &self.0
    }
}

type Prepared = Result<Arc<Schema>, Unusable>;
type Ready = HashMap<usize, (Arc<Value>, Prepared)>;

/// Comparisons that may take long, at once: they must leave the threads that serve calls, and the kill, to others.
const APART: usize = 4;
/// How long a call waits for one.
const PATIENCE: Duration = Duration::from_secs(2);

/// Schemas that are ready for use, each prepared once: by the address of the one in the policy, which is kept with it.
#[derive(Clone)]
pub struct Schemas {
    ready: Arc<RwLock<Ready>>,
    apart: Arc<Semaphore>,
}

impl Default for Schemas {
    fn default() -> Self {
        Self { ready: Arc::default(), apart: Arc::new(Semaphore::new(APART)) }
    }
}

impl Schemas {
    fn ready(&self, input: &Arc<Value>) -> Option<Prepared> {
        let ready = self.ready.read().unwrap_or_else(PoisonError::into_inner);
        ready.get(&(Arc::as_ptr(input) as usize)).map(|(_, prepared)| prepared.clone())
    }

    fn prepare(&self, input: &Arc<Value>) -> Prepared {
        if let Some(ready) = self.ready(input) {
            return ready;
        }
        let prepared = Schema::new(input).map(Arc::new);
        let mut all = self.ready.write().unwrap_or_else(PoisonError::into_inner);
        all.entry(Arc::as_ptr(input) as usize).or_insert_with(|| (input.clone(), prepared)).1.clone()
    }

    /// Holds a call's arguments against a schema: at once where that is surely short, else on a thread apart, where nothing that others
    /// wait for is held up.
    async fn hold(&self, input: &Arc<Value>, message: &Arc<Message>) -> Result<(), Unfit> {
        let bytes = message.arguments_raw().map_or(0, <[u8]>::len);
        match self.ready(input) {
            Some(Err(_)) => return Err(Unfit::Schema),
            Some(Ok(schema)) if schema.is_light(bytes) => return schema.check(message.arguments_raw()).map_err(Unfit::Arguments),
            _ => {}
        }
        let (schemas, input, message) = (self.clone(), input.clone(), message.clone());
        let comparing = async move {
            let place = schemas.apart.clone().acquire_owned().await.map_err(|_| Unfit::Late)?;
            let work = move || {
                let _place = place;
                let schema = schemas.prepare(&input).map_err(|_| Unfit::Schema)?;
                schema.check(message.arguments_raw()).map_err(Unfit::Arguments)
            };
            tokio::task::spawn_blocking(work).await.unwrap_or(Err(Unfit::Late))
        };
        timeout(PATIENCE, comparing).await.unwrap_or(Err(Unfit::Late))
    }

    /// Forgets the schemas of policies that are gone.
    pub fn keep(&self, snapshot: &Snapshot) {
        let alive: HashSet<usize> = snapshot
            .definitions
            .values()
            .flat_map(|tools| tools.values())
            .filter_map(|definition| definition.input.as_ref())
            .map(|input| Arc::as_ptr(input) as usize)
            .collect();
        self.ready.write().unwrap_or_else(PoisonError::into_inner).retain(|key, _| alive.contains(key));
    }
}

/// Why arguments do not pass.
enum Unfit {
    /// Nothing can be held against the schema.
    Schema,
    /// They do not fit it.
    Arguments(Misfit),
    /// Nobody knows: comparing them takes too long.
    Late,
}

/// Holds the arguments of a tool call against the schema of the running policy; everything else passes.
///
/// # Errors
/// [`Refusal::Arguments`] with the place and the rule; `tool.schema_unusable`.
pub async fn check(shared: &Shared, authorised: Authorised) -> Result<Permit, Refusal> {
    let received = &authorised.living().received;
    if received.kind != Some(MethodKind::ToolCall) {
        return Ok(Permit(authorised));
    }
    let tool = received.message.name().unwrap_or_default();
    let definition = authorised.snapshot().definition(&received.server, tool);
    if let Some(input) = definition.and_then(|definition| definition.input.as_ref()) {
        let refusal = |misfit| Refusal::Arguments { misfit: Box::new(misfit), era: received.era };
        shared.schemas.hold(input, &received.message).await.map_err(|unfit| match unfit {
            Unfit::Schema => Refusal::SchemaUnusable,
            Unfit::Arguments(misfit) => refusal(misfit),
            Unfit::Late => refusal(Misfit::late()),
        })?;
    }
    Ok(Permit(authorised))
}

/// What an agent reads of it.
pub fn sentence(misfit: &Misfit) -> String {
    let place = if misfit.pointer.is_empty() { "The arguments do" } else { "An argument does" };
    let at = if misfit.pointer.is_empty() { String::new() } else { format!(" At {}:", misfit.pointer) };
    format!(
        "{place} not fit the schema of this tool.{at} {}. The call did not run. Mend the arguments, then call again.",
        misfit.rule
    )
}

/// A result with `isError`, as the specification wants wrong arguments answered (2025-11-25, server/tools, "Error handling").
pub fn answer(id_raw: Option<&[u8]>, request_id: &str, reason: &str, (misfit, era): (&Misfit, Era)) -> Bytes {
    let mut result = json!({
        "content": [{"type": "text", "text": sentence(misfit)}],
        "isError": true,
        "_meta": {"lifeboat/refusal": {
            "reason": reason,
            "request_id": request_id,
            "executed": "no",
            "retry": "no",
            "pointer": misfit.pointer,
            "rule": misfit.rule,
        }},
    });
    if era.is_modern() {
        result["resultType"] = json!("complete");
    }
    reply::result(id_raw, &result).into()
}
