//! The web kit: pages and partials, headers, origins, cookies, forms, assets, words for people. Knows no noun and never decides who may do what.

pub mod assets;
pub mod chart;
pub mod context;
pub mod cookie;
pub mod form;
pub mod headers;
pub mod human;
pub mod origin;
pub mod outbound;
pub mod page;
pub mod qr;
pub mod view;

pub use context::Context;
pub use form::Fields;
pub use page::{html, html_with, see_other};
