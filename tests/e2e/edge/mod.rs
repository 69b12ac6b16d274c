//! The edge with real balancers, real restarts, real certificates and a wrong clock.

mod balancers;
mod certificates;
mod clock;
mod handed;
mod streams;
mod trust;
mod upgrade;
