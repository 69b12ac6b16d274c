//! The fixture server of the official conformance suite. See `lifeboat_peers::conformance`.

use lifeboat_peers::conformance;
use lifeboat_peers::flags::{Flags, fail};

#[tokio::main]
async fn main() {
    if let Err(error) = conformance::run(&Flags::from_env()).await {
        fail(&format!("conformance: {error}"));
    }
}
