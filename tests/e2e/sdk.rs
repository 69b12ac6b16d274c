//! What real clients show of a credential that does not count.

use crate::clients::{Driver, EVERY};
use crate::harness::Lifeboat;
use crate::ledger;

#[test]
fn a_wrong_key_is_an_error_in_each_client_and_reaches_no_tool() {
    let lifeboat = Lifeboat::start();
    // The bridge takes a 401 for an invitation to open a browser, and waits for it.
    for sdk in EVERY.into_iter().filter(|sdk| !sdk.is_bridge()) {
        let connected = Driver::start(sdk, &lifeboat, "lbk_nobody_nothing_none").connect("demo");
        assert_eq!(connected["ok"], false, "{sdk:?}: {connected}");
        assert!(!connected["message"].as_str().unwrap_or_default().is_empty(), "{sdk:?} says something: {connected}");
    }
    assert!(ledger::query(&lifeboat, &["--tool", "demo/read_graph"]).is_empty());
}
