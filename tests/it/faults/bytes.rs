//! Strange bytes, made by the thousand: whatever our readers accept, another reader of the same bytes understands the same.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use lifeboat::mcp::headers::check_mirror;
use lifeboat::mcp::json::{JsonLimits, check};
use lifeboat::mcp::message::{parse, parse_incoming};
use lifeboat::mcp::sse::Decoder;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::value::RawValue;

use super::sized;
use super::strange::{canon, damage, damaged, made, member, message, object, python, quoted, value};

#[test]
fn flt_31_what_the_strict_reader_accepts_python_reads_the_same() {
    let texts = made((prop_oneof![object(member(value())), message()], damage()), sized(8_000, 1_000_000));
    let mut accepted = Vec::new();
    for (text, damage) in texts {
        let bytes = damaged(text, &damage);
        if check(&bytes, JsonLimits::CLIENT).is_ok() {
            accepted.push(bytes);
        }
    }
    assert!(accepted.len() > 2_000, "too few to tell: {}", accepted.len());
    accepted.sort();
    accepted.dedup();
    let theirs = python("J", &accepted);
    assert_eq!(theirs.len(), accepted.len());
    for (bytes, theirs) in accepted.iter().zip(&theirs) {
        let raw: &RawValue = serde_json::from_slice(bytes).expect("serde reads it");
        assert_eq!(&canon(raw), theirs, "{}", String::from_utf8_lossy(bytes));
    }
    println!("{} different texts accepted", accepted.len());
}

#[test]
fn flt_31_what_is_decided_on_is_what_python_finds_in_the_message() {
    let texts = made((message(), damage()), sized(8_000, 1_000_000));
    let (mut accepted, mut ours) = (Vec::new(), Vec::new());
    for (text, damage) in texts {
        let Ok(message) = parse(Bytes::from(damaged(text, &damage))) else { continue };
        let found = [
            format!("\"id\":{}", message.id_raw().map_or("null".into(), |raw| canon(serde_json::from_slice(raw).expect("an id")))),
            format!("\"method\":{}", message.method().map_or("null".to_owned(), quoted)),
        ];
        // The members that decide, with what the arguments are, as one text that Python makes too.
        let name = message.name().map_or("null".to_owned(), quoted);
        let arguments =
            message.arguments_raw().map_or("null".to_owned(), |raw| canon(serde_json::from_slice(raw).expect("arguments")));
        ours.push((found, name, arguments));
        accepted.push(message.body().to_vec());
    }
    assert!(accepted.len() > 2_000, "too few to tell: {}", accepted.len());
    for ((bytes, (found, name, arguments)), theirs) in accepted.iter().zip(&ours).zip(python("J", &accepted)) {
        let text = String::from_utf8_lossy(bytes);
        assert!(
            found.iter().filter(|member| !member.ends_with(":null")).all(|member| theirs.contains(member.as_str())),
            "{text}: {theirs}"
        );
        let whole = format!("\"name\":{name}");
        assert!(name == "null" || theirs.contains(&whole), "{text}: {whole} is not in {theirs}");
        assert!(arguments == "null" || theirs.contains(&format!("\"arguments\":{arguments}")), "{text}: {arguments}");
    }
    println!("{} messages accepted", accepted.len());
}

#[test]
fn flt_31_a_mirrored_header_that_is_accepted_says_what_the_body_says() {
    let name = prop_oneof![
        select(vec!["echo", "d\u{435}lete", "a b", "=?base64?ZWNobw==?=", "x?=", "", "=?"]).prop_map(str::to_owned),
        ".{0,6}"
    ];
    let wrap = select(vec!["plain", "good", "nopad", "upper", "url", "double", "tail", "space", "cut"]);
    let mut accepted = Vec::new();
    for (name, wrap, damage) in made((name, wrap, damage()), sized(20_000, 1_000_000)) {
        let inner = STANDARD.encode(&name);
        let value = match wrap {
            "plain" => name.clone(),
            "nopad" => format!("=?base64?{}?=", inner.trim_end_matches('=')),
            "upper" => format!("=?BASE64?{inner}?="),
            "url" => format!("=?base64?{}?=", inner.replace('+', "-").replace('/', "_")),
            "double" => format!("=?base64?{}?=", STANDARD.encode(format!("=?base64?{inner}?="))),
            "tail" => format!("=?base64?{inner}?=x"),
            "space" => format!(" \t=?base64?{inner}?= "),
            "cut" => format!("=?base64?{inner}"),
            _ => format!("=?base64?{inner}?="),
        };
        let value = damaged(value, &damage);
        let Ok(header) = HeaderValue::from_bytes(&value) else { continue };
        let body =
            serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": {}}});
        let Ok(message) = parse(body.to_string().into()) else { continue };
        let mut headers = HeaderMap::new();
        headers.insert("mcp-method", HeaderValue::from_static("tools/call"));
        headers.insert("mcp-name", header);
        if check_mirror(&headers, &message).is_ok() {
            accepted.push([&value, &b"\n"[..], name.as_bytes()].concat());
        }
    }
    assert!(accepted.len() > 2_000, "too few to tell: {}", accepted.len());
    for (blob, said) in accepted.iter().zip(python("H", &accepted)) {
        assert_eq!(said, "same", "{}", String::from_utf8_lossy(blob));
    }
}

/// WHATWG HTML 9.2.6, line by line on the whole stream; events whose data is empty carry no message and are left out.
fn by_the_book(stream: &[u8]) -> Vec<(Vec<u8>, Option<String>)> {
    let text = stream.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(stream);
    let (mut lines, mut line, mut at) = (Vec::new(), Vec::new(), 0);
    while let Some(byte) = text.get(at) {
        at += 1;
        match byte {
            b'\r' if text.get(at) == Some(&b'\n') => {
                at += 1;
                lines.push(std::mem::take(&mut line));
            }
            b'\r' | b'\n' => lines.push(std::mem::take(&mut line)),
            byte => line.push(*byte),
        }
    }
    let (mut events, mut data, mut name) = (Vec::new(), Vec::new(), None);
    for line in lines {
        if line.is_empty() {
            data.pop();
            if !data.is_empty() {
                events.push((data.clone(), name.clone()));
            }
            (data, name) = (Vec::new(), None);
            continue;
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(at) => (&line[..at], line[at + 1..].strip_prefix(b" ").unwrap_or(&line[at + 1..])),
            None => (&line[..], &b""[..]),
        };
        match field {
            b"data" => data.extend([value, b"\n"].concat()),
            b"event" => name = Some(String::from_utf8_lossy(value).into_owned()),
            _ => {}
        }
    }
    events
}

#[test]
fn flt_31_events_are_cut_as_the_specification_says_wherever_the_stream_is_split() {
    let piece = select(vec![
        "data: {\"a\":1}",
        "data:x",
        "data",
        "data:",
        "data:  two",
        ": comment",
        ":",
        "event: message",
        "event:",
        "id: 7",
        "id: \u{0}",
        "retry: 5",
        "retry: x",
        "unknown: y",
        "data : z",
        "\u{feff}data: b",
        "datax: 1",
        "d\u{e9}: 1",
    ]);
    let end = select(vec!["\n", "\r", "\r\n", "\n\n", "\r\r", "\r\n\r\n", "\n\r\n", "\r\n\r", "\n\r"]);
    let stream =
        vec((piece, end), 0..12).prop_map(|lines| lines.iter().map(|(line, end)| format!("{line}{end}")).collect::<String>());
    for (stream, damage, cuts) in made((stream, damage(), vec(1usize..9, 1..60)), sized(15_000, 1_000_000)) {
        let stream = damaged(stream, &damage);
        let due = by_the_book(&stream);
        let whole = Decoder::new(1 << 20).push(&stream).expect("within the cap");
        let found = |events: &[lifeboat::mcp::sse::SseEvent]| -> Vec<_> {
            events.iter().filter(|event| event.has_message()).map(|event| (event.data.to_vec(), event.event.clone())).collect()
        };
        assert_eq!(found(&whole), due, "{:?}", String::from_utf8_lossy(&stream));
        let (mut split, mut decoder, mut rest) = (Vec::new(), Decoder::new(1 << 20), &stream[..]);
        for cut in cuts.iter().cycle() {
            let (chunk, after) = rest.split_at((*cut).min(rest.len()));
            split.extend(decoder.push(chunk).expect("within the cap"));
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        assert_eq!(found(&split), due, "split: {:?}", String::from_utf8_lossy(&stream));
        let passed: Vec<u8> = split.iter().flat_map(|event| event.raw.to_vec()).collect();
        assert!(stream.starts_with(&passed), "what is passed on is what came: {:?}", String::from_utf8_lossy(&stream));
    }
}

#[test]
fn flt_31_no_bytes_of_a_server_end_the_reader() {
    for (text, damage) in made((prop_oneof![value(), message()], damage()), sized(8_000, 1_000_000)) {
        let bytes = Bytes::from(damaged(text, &damage));
        if let Ok(incoming) = parse_incoming(bytes.clone()) {
            let _ = (incoming.id(), incoming.is_error(), incoming.result_raw(), incoming.with_id(b"1"));
            let _ = incoming.progress_token_raw().map(|_| incoming.with_progress_token(b"\"t\""));
        }
    }
}
