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

use bytes::Bytes;
use serde_json::{Value, json};

use super::Shared;
use super::authz::Authorised;
use super::refuse::Refusal;
use crate::inspect::schema::{Misfit, Schema, Unusable};
use crate::mcp::era::Era;
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

/// Schemas that are ready for use, each prepared once: by the address of the one in the policy, which is kept with it.
#[derive(Default)]
pub struct Schemas(RwLock<HashMap<usize, (Arc<Value>, Prepared)>>);

impl Schemas {
    fn of(&self, input: &Arc<Value>) -> Prepared {
        let key = Arc::as_ptr(input) as usize;
        if let Some((_, prepared)) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return prepared.clone();
        }
        let prepared = Schema::new(input).map(Arc::new);
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.entry(key).or_insert_with(|| (input.clone(), prepared)).1.clone()
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
        self.0.write().unwrap_or_else(PoisonError::into_inner).retain(|key, _| alive.contains(key));
    }
}

/// Holds the arguments of a tool call against the schema of the running policy; everything else passes.
///
/// # Errors
/// [`Refusal::Arguments`] with the place and the rule; `tool.schema_unusable`.
pub fn check(shared: &Shared, authorised: Authorised) -> Result<Permit, Refusal> {
    let received = &authorised.living().received;
    if received.kind != Some(MethodKind::ToolCall) {
        return Ok(Permit(authorised));
    }
    let tool = received.message.name().unwrap_or_default();
    let definition = authorised.snapshot().definition(&received.server, tool);
    if let Some(input) = definition.and_then(|definition| definition.input.as_ref()) {
        let schema = shared.schemas.of(input).map_err(|_| Refusal::SchemaUnusable)?;
        let fits = schema.check(received.message.arguments_raw());
        fits.map_err(|misfit| Refusal::Arguments { misfit: Box::new(misfit), era: received.era })?;
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
