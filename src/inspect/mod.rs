//! What may pass, pure: so far the schema of a tool's arguments. Never fetches anything and never decides who may call.

pub mod schema;
