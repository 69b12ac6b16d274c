//! The verifier against everything somebody might do to the files.

use super::*;
use crate::audit::segment;

/// Twelve events in several segments, at rest.
async fn ledger_of_twelve() -> Home {
    let mut home = Home::new();
    home.settings.segment = ByteSize(4_096);
    let (ledger, recorder) = home.open();
    fill(&recorder, 12).await;
    ledger.shutdown().await;
    home
}

fn lines(home: &Home) -> Vec<String> {
    home.text(1).lines().map(str::to_owned).collect()
}

fn write(home: &Home, lines: &[String]) {
    std::fs::write(home.segment(1), lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

#[tokio::test]
async fn edits_deletes_inserts_and_moves_are_found_where_they_are() {
    let home = ledger_of_twelve().await;
    let good = lines(&home);
    assert!(good.len() >= 6 && home.check().ok);
    let mut edited = good.clone();
    edited[2] = edited[2].replace("\"client\":\"c\"", "\"client\":\"d\"");
    let mut deleted = good.clone();
    deleted.remove(2);
    let mut inserted = good.clone();
    inserted.insert(2, good[1].clone());
    let mut moved = good.clone();
    moved.swap(2, 3);
    let mut beheaded = good.clone();
    beheaded.remove(0);
    let cases = [(edited, 3), (deleted, 3), (inserted, 3), (moved, 3), (beheaded, 1)];
    for (n, (forged, first_bad)) in cases.into_iter().enumerate() {
        write(&home, &forged);
        let report = home.check();
        assert_eq!((report.ok, report.first_bad), (false, Some(first_bad)), "case {n}: {report:?}");
    }
    write(&home, &good);
    assert!(home.check().ok);
}

#[tokio::test]
async fn every_changed_byte_is_found() {
    let home = ledger_of_twelve().await;
    let good = std::fs::read(home.segment(1)).unwrap();
    for at in (0..good.len()).step_by(7) {
        let mut forged = good.clone();
        forged[at] ^= 1;
        std::fs::write(home.segment(1), &forged).unwrap();
        assert!(!home.check().ok, "byte {at}");
    }
}

#[tokio::test]
async fn a_rewritten_chain_does_not_fit_the_signed_checkpoint() {
    let home = ledger_of_twelve().await;
    let (mut head, mut out) = (crate::audit::chain::Head::genesis(), Vec::new());
    for line in lines(&home) {
        let mut event: Event = serde_json::from_str(&line).unwrap();
        event.client = Some("innocent".into());
        head = crate::audit::chain::seal(&mut event, &head, &mut out).unwrap();
    }
    std::fs::write(home.segment(1), &out).unwrap();
    assert!(!home.check().ok);
}

#[tokio::test]
async fn a_missing_or_damaged_segment_and_a_forged_checkpoint_are_found() {
    let mut home = Home::new();
    home.settings.segment = ByteSize(4_096);
    let (ledger, recorder) = home.open();
    fill(&recorder, 60).await;
    let forms = || segment::list(&home.dir()).unwrap().iter().filter(|s| s.form == segment::Form::Packed).count();
    eventually("packed", || forms() >= 3).await;
    let outside = ledger.checkpoint("drill").await.unwrap();
    ledger.shutdown().await;
    let second = segment::packed_path(&home.dir(), 2);
    let bytes = std::fs::read(&second).unwrap();
    let mut damaged = bytes.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0x10;
    std::fs::write(&second, damaged).unwrap();
    assert!(!home.check().ok, "damage in a packed segment");
    std::fs::remove_file(&second).unwrap();
    assert!(!home.check().ok, "a missing segment");
    std::fs::write(&second, bytes).unwrap();
    assert!(home.check().ok);
    let path = home.dir().join("checkpoints.jsonl");
    let stored = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, stored.replacen("\"why\":\"drill\"", "\"why\":\"skill\"", 1)).unwrap();
    let report = home.check();
    assert_eq!((report.ok, report.first_bad), (false, Some(60)), "{report:?}");
    // Shortened together with its checkpoint file: only a copy elsewhere knows.
    std::fs::remove_file(&path).unwrap();
    let last = segment::list(&home.dir()).unwrap().last().unwrap().number;
    std::fs::write(home.segment(last), "").unwrap();
    assert!(home.check().ok);
    let signer = home.signer();
    let report = verify(&home.dir(), signer.public(), Extent::All, &[outside]).unwrap();
    assert!(!report.ok, "{report:?}");
}

#[tokio::test]
async fn atk_p47_a_hostile_name_makes_one_escaped_line() {
    let home = Home::new();
    let (ledger, recorder) = home.open();
    for evil in ["\n{\"fake\":1}", "\u{1b}[31mred", "a\rb", "\u{2028}\u{2029}\u{85}", "\"},{\"", &"x".repeat(1 << 20)] {
        let event = Event { params: Some(serde_json::json!({ evil: [evil, { "deep": evil }] })), ..call(evil, evil) };
        recorder.record(event, Durability::Synced).await.unwrap();
    }
    ledger.shutdown().await;
    let text = home.text(1);
    assert_eq!(text.lines().count(), 6);
    assert_eq!(text.chars().filter(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')).count(), 6, "only line feeds");
    let last: Event = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let tool = last.tool.unwrap();
    assert!(tool.len() < 300 && tool.contains("1048576 bytes"), "{tool}");
    assert!(text.lines().last().unwrap().len() < 4_000);
    assert!(home.check().ok);
}
