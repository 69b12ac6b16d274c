//! The decoder against streams split anywhere.

use bytes::Bytes;
use proptest::prelude::*;

use super::{Decoder, SseEvent, SseFault, encode};

fn whole(stream: &[u8]) -> Vec<SseEvent> {
    Decoder::new(1 << 20).push(stream).unwrap()
}

fn messages(events: &[SseEvent]) -> Vec<String> {
    events.iter().filter(|event| event.has_message()).map(|event| String::from_utf8(event.data.to_vec()).unwrap()).collect()
}

const MIXED: &[u8] =
    b"\xEF\xBB\xBFid: 1\r\ndata: {\"a\":\r\ndata:1}\r\n\r\n: ping\n\nevent: message\rdata: two\r\rid: 3\nretry: 500\ndata:\n\n\
    data:  three\nodd\nunknown: x\n\n\r\n";

#[test]
fn lines_end_in_three_ways() {
    let events = whole(MIXED);
    assert_eq!(messages(&events), ["{\"a\":\n1}", "two", " three"]);
    assert_eq!(events[0].id.as_deref(), Some("1"));
    assert_eq!(events.iter().flat_map(|event| event.raw.to_vec()).collect::<Vec<u8>>(), MIXED);
    let two = events.iter().find(|event| event.data == "two").unwrap();
    assert_eq!(two.event.as_deref(), Some("message"));
    let priming = events.iter().find(|event| event.id.as_deref() == Some("3")).unwrap();
    assert_eq!((priming.raw.as_ref(), priming.retry.as_deref()), (b"id: 3\nretry: 500\ndata:\n\n".as_slice(), Some("500")));
    assert!(!priming.has_message());
}

#[test]
fn a_comment_goes_out_at_once() {
    let mut decoder = Decoder::new(100);
    let events = decoder.push(b": keep-alive\n").unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].raw, Bytes::from_static(b": keep-alive\n"));
    assert_eq!(decoder.pending(), 0);
}

#[test]
fn an_event_is_given_as_soon_as_its_blank_line_is_here() {
    let mut decoder = Decoder::new(100);
    assert_eq!(messages(&decoder.push(b"data: a\r\n\r").unwrap()), ["a"]);
    assert_eq!(messages(&decoder.push(b"\ndata: b\n\n").unwrap()), ["b"]);
    assert!(decoder.push(b"data: never finished").unwrap().is_empty());
    assert_eq!(decoder.pending(), 20);
}

#[test]
fn pit_19_one_event_is_capped_and_the_stream_is_not() {
    let event = |size: usize| format!("data: {}\n\n", "x".repeat(size));
    let mut decoder = Decoder::new(100);
    for _ in 0..50 {
        assert_eq!(decoder.push(event(92).as_bytes()).unwrap().len(), 1);
    }
    assert_eq!(decoder.push(event(93).as_bytes()), Err(SseFault { limit: 100 }));
    let mut decoder = Decoder::new(100);
    assert_eq!(decoder.push(&[b'x'; 101]), Err(SseFault { limit: 100 }));
    let mut decoder = Decoder::new(100);
    assert_eq!(decoder.push("data: x\n".repeat(20).as_bytes()), Err(SseFault { limit: 100 }));
}

#[test]
fn what_is_written_reads_the_same() {
    let events = whole(&encode(b"{\n\"a\":\r\n1}"));
    assert_eq!(messages(&events), ["{\n\"a\":\n1}"]);
    assert_eq!(encode(b"{}"), "event: message\ndata: {}\n\n");
    let old = &whole(b"id: 7\nevent: message\ndata: old\n\n")[0];
    assert_eq!(old.with_data(b"new"), "id: 7\nevent: message\ndata: new\n\n");
}

proptest! {
    #[test]
    fn splits_change_nothing(cuts in prop::collection::vec(0..MIXED.len(), 0..12)) {
        let mut cuts = cuts;
        cuts.push(MIXED.len());
        cuts.sort_unstable();
        let mut decoder = Decoder::new(1 << 20);
        let (mut events, mut at) = (Vec::new(), 0);
        for cut in cuts {
            events.extend(decoder.push(&MIXED[at..cut]).unwrap());
            at = cut;
        }
        prop_assert_eq!(messages(&events), messages(&whole(MIXED)));
        let mut raw: Vec<u8> = events.iter().flat_map(|event| event.raw.to_vec()).collect();
        raw.extend_from_slice(&decoder.pending);
        prop_assert_eq!(raw, MIXED.to_vec());
    }

    #[test]
    fn any_bytes_come_out_as_they_went_in(chunks in prop::collection::vec("[\r\n:ad \u{feff}]{0,10}", 0..10)) {
        let mut decoder = Decoder::new(1 << 20);
        let mut raw = Vec::new();
        for chunk in &chunks {
            for event in decoder.push(chunk.as_bytes()).unwrap() {
                raw.extend_from_slice(&event.raw);
            }
        }
        raw.extend_from_slice(&decoder.pending);
        prop_assert_eq!(raw, chunks.concat().into_bytes());
    }
}
