//! Cases of the doctor: what each check makes of what it sees.

use std::os::unix::fs::PermissionsExt;

use super::servers::{Answer, around, fetched};
use super::{Check, State, data, examine, host};
use crate::admin::tests_house::{House, root};
use crate::base::clock::{Clock, SystemClock, Timestamp};
use crate::config::server::{HttpUpstream, StdioUpstream};
use crate::config::space::Space;

fn named<'c>(checks: &'c [Check], name: &str) -> &'c Check {
    checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("no check {name}: {checks:#?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_house_in_order_has_no_failed_check_and_the_worst_stands_first() {
    let house = House::open().await;
    let found = examine(&house.admin, &root()).await.unwrap();
    assert!(found.ok, "{found:#?}");
    assert!(found.checks.is_sorted_by_key(|check| check.state));
    assert!(found.checks.iter().all(|check| check.state == State::Ok || !check.detail.is_empty()));
    assert_eq!(named(&found.checks, "permissions").state, State::Ok);
    assert_eq!(named(&found.checks, "running").state, State::Warn);
}

#[tokio::test(flavor = "multi_thread")]
async fn open_files_and_links_in_the_data_directory_are_named_with_their_mending() {
    let house = House::open().await;
    let path = house.admin.data.instance_key();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", house.admin.data.audit().join("odd.jsonl")).unwrap();
    let found = examine(&house.admin, &root()).await.unwrap();
    let check = named(&found.checks, "permissions");
    assert!(!found.ok && check.state == State::Fail, "{check:?}");
    assert!(check.detail.contains("instance.key has mode 0644") && check.detail.contains("odd.jsonl is a link"), "{check:?}");
    assert!(check.mend.starts_with("chmod go= "), "{check:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_near_their_end_and_a_kill_are_told() {
    let house = House::open().await;
    let at = |days: i64| SystemClock.now().plus_ms(days * 86_400_000);
    let state = |now: Timestamp| named(&data::checks(&house.admin.data, now), "CA").state;
    assert_eq!([at(0), at(3_640), at(3_700)].map(state), [State::Ok, State::Warn, State::Fail]);
    house.listen("proxy").await;
    let order = crate::admin::kill::OrderBody { reason: "test".into(), ..Default::default() }.into_order().unwrap();
    crate::admin::kill::engage(&house.admin, &root(), order).await.unwrap();
    let found = examine(&house.admin, &root()).await.unwrap();
    let check = named(&found.checks, "kill switch");
    assert!(check.state == State::Warn && check.detail.contains("everything (full) by ana"), "{check:?}");
    assert_eq!(named(&found.checks, "kill proof").state, State::Ok);
    // The stand-in of the house answers everybody.
    assert!(named(&found.checks, "bypass").detail.contains("without any credential"), "{found:?}");
    assert!(named(&found.checks, "tools").detail.contains("new: wipe"), "{found:?}");
}

#[test]
fn little_room_and_few_open_files_are_told_before_they_are_gone() {
    let space = |free: u64, free_files: u64| Space { free: free << 20, total: 100 << 30, free_files, total_files: 100_000 };
    let state = |free, files| host::room(space(free, files)).state;
    assert_eq!([state(50_000, 90_000), state(900, 90_000), state(50_000, 3_000)], [State::Ok, State::Warn, State::Warn]);
    assert_eq!([state(10, 90_000), state(50_000, 10)], [State::Fail, State::Fail]);
    let files = |open, limit| host::files_left(open, limit).state;
    assert_eq!([files(10, 65_536), files(10, 1_024), files(950, 1_024)], [State::Ok, State::Warn, State::Fail]);
    let reach = |name, address| host::reachable(name, address).state;
    assert_eq!([reach("proxy", "0.0.0.0:8444"), reach("dashboard", "[::1]:8443")], [State::Ok, State::Ok]);
    assert_eq!([reach("dashboard", "0.0.0.0:8443"), reach("dashboard", "192.0.2.1:8443")], [State::Warn, State::Warn]);
}

#[test]
fn a_way_around_and_a_package_without_version_are_amber() {
    let upstream = HttpUpstream { url: "https://a.example/mcp".into(), ..HttpUpstream::default() };
    let told = |answer: Answer| around("a", &upstream, &answer);
    assert_eq!(told(Answer::Served).state, State::Warn);
    assert_eq!(told(Answer::Not("it answered neither server/discover nor initialize (HTTP 401)".into())).state, State::Ok);
    assert_eq!(told(Answer::Not("it answered tools/list with HTTP 403".into())).state, State::Ok);
    assert_eq!(told(Answer::Not("it cannot be reached: no route to 10.0.0.1:14030".into())).state, State::Warn);
    assert!(told(Answer::Not("connection refused".into())).detail.contains("nothing is known"));
    let command = |words: &[&str]| StdioUpstream {
        command: words.iter().map(|word| (*word).to_owned()).collect(),
        ..StdioUpstream::default()
    };
    assert!(fetched("a", &command(&["/usr/bin/npx", "-y", "@scope/server"])).is_some());
    assert!(fetched("a", &command(&["uvx", "server@latest"])).is_some());
    for pinned in [&["npx", "-y", "@scope/server@1.2.3"][..], &["uvx", "server==1.0"], &["node", "server.js"]] {
        assert!(fetched("a", &command(pinned)).is_none(), "{pinned:?}");
    }
}
