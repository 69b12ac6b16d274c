//! Lifeboat: an enforcement proxy for MCP and the admin service of the people on call for it. The law of who may name whom
//! stands in docs/ARCHITECTURE.md and is kept by the test `laws`.

pub mod admin;
pub mod app;
pub mod audit;
pub mod base;
pub mod cli;
pub mod config;
pub mod crypto;
pub mod db;
pub mod demo;
pub mod inspect;
pub mod jobs;
pub mod lifecycle;
pub mod mcp;
pub mod policy;
pub mod proxy;
pub mod telemetry;
pub mod web;
