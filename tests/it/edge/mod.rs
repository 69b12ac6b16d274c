//! The edge from outside: names, browsers, balancers, plain listeners. Every case asserts what is answered and what the ledger says.

mod balancer;
mod names;
mod plain;
