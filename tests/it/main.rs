//! The one integration binary: laws of the source, and the whole app on free ports.

mod laws;
