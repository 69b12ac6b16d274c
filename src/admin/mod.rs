//! The admin plane: one folder per noun, each with its verbs, model, SQL, routes and pages. Never names the proxy; what it
//! wants of it goes through `policy::feed`.

pub mod actor;

pub use actor::{Actor, OperatorRole, Via};
