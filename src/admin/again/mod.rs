//! A login that is too old for what was asked: the page asks for the password right there and goes on. Never decides what needs a fresh login:
//! verbs do. Never carries a secret along.

pub mod pages;
pub mod routes;
